"""Reports of a DICOM folder: from a table, and from structured reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieval.errors import MissingColumn
from retrieval.records import Quarantined, Report, Study
from tests.archives.dicom_tree import ACCESSION, DicomTree, item, section, structured_report
from tests.dicom_files import PATIENT, PATIENT_ID

REPORTS = "AccessionNumber,Findings,IMPRESSION,MeSH,Problems,Age\n"


@pytest.fixture
def tree(tmp_path: Path) -> DicomTree:
    return DicomTree(tmp_path)


def test_a_table_gives_reports_by_accession_number(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.add("2.dcm", StudyInstanceUID="1.2.3.4", AccessionNumber="007")
    tree.reports(REPORTS + f"{ACCESSION},Clear lungs.,Normal.,normal,normal,47\n007, Nodule. ,,Nodule/lung,Nodule,1\n")
    (first, second), quarantined = tree.read()
    assert not quarantined
    assert (first.report, first.mesh) == (Report("Clear lungs.", "Normal."), "normal")
    assert (second.report, second.mesh, second.problems) == (Report("Nodule."), "Nodule/lung", "Nodule")


def test_unmatched_and_repeated_rows_are_named_by_number_only(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.reports(
        "accession_number,impression\n" + f"{ACCESSION},First.\nSECRET-1,Lost.\n{ACCESSION}, First. \n,Nobody.\n"
    )
    records = list(tree.source())
    found = {(record.file, record.code) for record in records if isinstance(record, Quarantined)}
    assert found == {
        ("reports.csv row 2", "row_without_file"),
        ("reports.csv row 3", "duplicate_id"),
        ("reports.csv row 4", "row_without_file"),
    }
    assert "SECRET" not in repr(records)
    assert [record.report.impression for record in records if isinstance(record, Study)] == ["First."]


@pytest.mark.parametrize("header", ["study,findings", "accession_number,age"])
def test_a_table_without_key_or_text_is_an_error(tree: DicomTree, header: str) -> None:
    tree.reports(f"{header}\n1,2\n")
    with pytest.raises(MissingColumn, match="accession_number"):
        tree.source()


def test_a_reports_table_inside_the_tree_is_ignored(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.table = tree.root / "reports.csv"
    tree.table.write_text(f"accession_number,findings\n{ACCESSION},Clear.\n")
    (study,), quarantined = tree.read()
    assert not quarantined
    assert study.report.findings == "Clear."


def test_a_structured_report_gives_its_sections(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.add(
        "sr",
        structured_report(
            [
                item("PNAME", ("121008", "Person Observer Name"), relation="HAS OBS CONTEXT"),
                item("TEXT", ("121030", "Subject ID"), PATIENT_ID, relation="HAS OBS CONTEXT"),
                item("TEXT", ("99", "Patient Name"), PATIENT),
                section("Anamnese", "Cough.", code="121060"),
                section("Comparison", "None."),
                section("Findings", "Lungs are\r\n  clear."),
                section("Previous Findings", "Effusion then."),
                section("Recommendations", "Repeat in a year."),
                item("CONTAINER", ("121070", "Findings"), children=[item("TEXT", ("7", "Heart"), "Heart is normal.")]),
                item("CONTAINER", None, children=[item("TEXT", ("121073", "Impression"), "Normal chest.")]),
                item("TEXT", None, "Unnamed words."),
                item("CONTAINER", ("99", "Section Heading"), children=[item("TEXT", ("99", "Report Text"), "More.")]),
            ]
        ),
    )
    (study,), quarantined = tree.read()
    assert not quarantined
    assert study.report == Report(
        findings="Lungs are clear. Heart is normal. Unnamed words. More.",
        impression="Normal chest.",
        indication="Cough.",
        comparison="None. Effusion then.",
    )


def test_a_structured_report_of_another_study_is_found_by_accession_number(tree: DicomTree) -> None:
    tree.add("1.dcm")
    report = [section("Findings", "Clear.")]
    tree.add("sr", structured_report(report, StudyInstanceUID="1.2.3.77", AccessionNumber=ACCESSION))
    assert tree.read()[0][0].report.findings == "Clear."


def test_a_verified_structured_report_is_used_before_others(tree: DicomTree) -> None:
    tree.add("1.dcm")
    for name, flag in (("sr1", "UNVERIFIED"), ("sr2", "VERIFIED"), ("sr3", "VERIFIED")):
        tree.add(name, structured_report([section("Findings", f"{name}.")], VerificationFlag=flag))
    assert tree.read()[0][0].report.findings == "sr2."


def test_the_table_goes_before_structured_reports(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.add("sr", structured_report([section("Findings", "From SR.")]))
    tree.reports(f"accession_number,findings\n{ACCESSION},From table.\n")
    assert tree.read()[0][0].report.findings == "From table."
