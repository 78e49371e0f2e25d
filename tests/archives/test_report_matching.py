"""Matching of reports to DICOM studies: by StudyInstanceUID, or by an accession number that identifies one study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.pseudonyms import hash_uid
from archives.dicom.structured_report_text import read_structured_report
from retrieval.records import Report
from tests.archives.dicom_tree import ACCESSION, SALT, DicomTree, item, section, structured_report

BIG = "Large left pneumothorax."


class Ward(DicomTree):
    """A tree of studies 1.2.3.1, 1.2.3.2, ... and their reports."""

    def film(self, study: int, accession: str | None = None, **elements: Any) -> None:
        uid = {
            "StudyInstanceUID": f"1.2.3.{study}",
            "SOPInstanceUID": f"1.2.3.{study}.{len(list(self.root.rglob('*')))}",
        }
        name = f"{study}/film{len(list(self.root.rglob('*')))}"
        self.add(name, **uid | {"AccessionNumber": accession} | elements)

    def sr(self, study: int | None, text: str = BIG, accession: str | None = None, **elements: Any) -> str:
        name = f"sr{len(list(self.root.rglob('*'))):03}"
        uid = f"1.2.3.{study}" if study else None
        content = [section("Findings", text)]
        self.add(name, structured_report(content, StudyInstanceUID=uid, AccessionNumber=accession, **elements))
        return name

    def texts(self) -> dict[int, str]:
        """Findings by study; no record contains an accession number or a UID."""
        studies = {hash_uid(SALT, f"1.2.3.{number}"): number for number in range(1, 9)}
        return {studies[study.study_id]: study.report.findings for study in self.read()[0]}

    def listed(self) -> list[tuple[str, str]]:
        return self.read()[1]

    def notes(self) -> list[str]:
        return sorted({note for study in self.read()[0] for note in study.notes})


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.mark.parametrize("accession", ["ANON", "0", "", None, "NA", "A1", "xxxx", "Unknown"])
def test_a_structured_report_belongs_to_its_study_alone(ward: Ward, accession: str | None) -> None:
    for study in (1, 2, 3):
        ward.film(study, accession)
    ward.sr(1, accession=accession)
    assert ward.texts() == {1: BIG, 2: "", 3: ""}
    assert ward.listed() == []
    assert any("does not identify one study" in note for note in ward.notes()) == (accession not in ("", None, "NA"))


@pytest.mark.parametrize("accession", ["ANON", "0", "A1", "anonymous"])
def test_a_row_whose_accession_number_several_studies_share_goes_to_none(ward: Ward, accession: str) -> None:
    for study in (1, 2, 3):
        ward.film(study, accession)
    ward.reports(f"accession_number,findings\n{accession},{BIG}\n")
    assert ward.texts() == {1: "", 2: "", 3: ""}
    assert ward.listed() == [("reports.csv row 1", "shared_accession")]
    assert not any(accession in note for note in ward.notes())


@pytest.mark.parametrize("accession", ["ANON", "0000", "xxxx", "Anonymized", "REMOVED", "not available"])
def test_a_dummy_accession_number_matches_no_study_even_if_only_one_file_has_it(ward: Ward, accession: str) -> None:
    ward.film(1, accession)
    ward.reports(f"accession_number,findings\n{accession},{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: ""}, [("reports.csv row 1", "shared_accession")])


@pytest.mark.parametrize("accession", ["ANON0001", "10", "X1", "A-0", "007"])
def test_one_number_one_study_one_row_is_attached(ward: Ward, accession: str) -> None:
    ward.film(1, accession)
    ward.film(1, accession)
    ward.film(2, "other")
    ward.reports(f"accession_number,findings\n{accession},{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG, 2: ""}, [])


def test_a_study_with_several_accession_numbers_takes_no_report_by_them(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(1, "A2")
    ward.film(2, "A3")
    ward.reports(f"accession_number,findings\nA1,{BIG}\nA2,Clear.\nA3,Mass.\n")
    assert ward.texts() == {1: "", 2: "Mass."}
    assert ward.listed() == [("reports.csv row 1", "shared_accession"), ("reports.csv row 2", "shared_accession")]


@pytest.mark.parametrize("key", ["A1", "1.2.3.1"])
def test_rows_with_one_key_that_differ_are_not_used_and_equal_ones_once(ward: Ward, key: str) -> None:
    ward.film(1, "A1")
    column = "study_instance_uid" if "." in key else "accession_number"
    ward.reports(f"{column},findings\n{key},{BIG}\n{key},Clear.\n{key},{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: ""}, [("reports.csv row 1", "conflicting_report")])
    ward.reports(f"{column},findings\n{key},{BIG}\n{key}, {BIG.replace(' ', '  ')}\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG}, [("reports.csv row 2", "duplicate_id")])


def test_an_accession_number_that_only_the_structured_report_carries_is_no_key(ward: Ward) -> None:
    ward.film(1)
    ward.sr(8, accession="A1")
    ward.reports("accession_number,findings\nA1,Mass.\n")
    assert ward.texts() == {1: ""}
    assert ward.listed() == [("reports.csv row 1", "row_without_file"), ("sr002", "report_without_image")]


@pytest.mark.parametrize("header", ["StudyInstanceUID", "study_instance_uid", "Study UID", "study_id"])
def test_a_table_may_give_reports_by_study_uid(ward: Ward, header: str) -> None:
    for study in (1, 2, 3):
        ward.film(study, "ANON")
    ward.reports(f"{header},accession_number,findings\n1.2.3.2,ANON,{BIG}\n1.2.3.7,ANON,Lost.\n,ANON,Nobody's.\n")
    assert ward.texts() == {1: "", 2: BIG, 3: ""}
    assert ward.listed() == [("reports.csv row 3", "shared_accession"), ("reports.csv row 2", "row_without_file")]


def test_a_study_id_is_a_key_only_if_the_archive_has_it(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    ward.reports(f"study_id,accession_number,findings\n{hash_uid(SALT, '1.2.3.1')},,{BIG}\n4711,A2,Mass.\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG, 2: "Mass."}, [])


def test_the_study_uid_of_a_row_counts_before_the_accession_number_of_another(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.reports(f"study_instance_uid,accession_number,findings\n,A1,Clear.\n1.2.3.1,,{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG}, [("reports.csv row 1", "duplicate_id")])


def test_a_report_of_a_computed_tomography_with_the_same_accession_number_stays_away(ward: Ward) -> None:
    ward.film(1, ACCESSION)
    ward.film(2, ACCESSION, SOPClassUID=CTImageStorage, Modality="CT")
    ward.sr(2, accession=ACCESSION)
    assert ward.texts() == {1: ""}
    assert [code for _, code in ward.listed()] == ["wrong_modality", "report_without_image"]


def test_two_reports_without_images_and_with_the_same_accession_number_are_quarantined(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    names = [ward.sr(7, "Clear.", "A1"), ward.sr(8, BIG, "A1"), ward.sr(6, "Mass.", "A2")]
    assert ward.texts() == {1: "", 2: "Mass."}
    assert ward.listed() == [(name, "report_without_image") for name in names[:2]]


def test_a_report_of_an_imaged_study_is_never_lent_to_another(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    ward.sr(2, accession="A1")
    assert (ward.texts(), ward.listed()) == ({1: "", 2: BIG}, [])


def test_a_stray_report_does_not_replace_that_of_the_study(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.sr(1, "Clear.", "A1")
    stray = ward.sr(8, BIG, "A1", VerificationFlag="VERIFIED")
    assert (ward.texts(), ward.listed()) == ({1: "Clear."}, [(stray, "report_without_image")])


def test_reports_without_study_uid_meet_no_other(ward: Ward) -> None:
    ward.film(1)
    names = [ward.sr(None), ward.sr(None, "Mass.")]
    assert (ward.texts(), ward.listed()) == ({1: ""}, [(name, "report_without_image") for name in names])


def test_different_reports_of_a_study_are_noted(ward: Ward) -> None:
    ward.film(1)
    ward.sr(1, "Clear.")
    ward.sr(1, BIG, VerificationFlag="VERIFIED")
    assert ward.texts() == {1: BIG}
    assert ["several structured reports" in note for note in ward.notes()] == [True]


def named(code: str, meaning: str) -> Sequence:
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "LN", meaning
    return Sequence([name])


@pytest.mark.parametrize(
    "heading",
    [("55107-7", "Addendum"), ("55107-7", ""), ("1", "Addendum to prior report"), ("1", "Nachtrag"), ("9", "Addenda")],
)
@pytest.mark.parametrize("as_container", [True, False])
def test_an_addendum_belongs_to_the_impression(heading: tuple[str, str], as_container: bool) -> None:
    text = "New left pneumothorax."
    addendum = section(heading[1], text, heading[0]) if as_container else item("TEXT", heading, text)
    content = [section("Findings", "Lungs clear."), section("Impression", "Normal."), addendum]
    found = read_structured_report(content)
    assert found.report == Report("Lungs clear.", f"Normal. {text}")
    assert not found.has_unknown_headings


def test_an_addendum_in_a_separate_document_is_added_to_the_report(ward: Ward) -> None:
    ward.film(1)
    title = {"ConceptNameCodeSequence": named("55107-7", "Imaging Addendum Report")}
    for name, text in (("a-late", "Second addendum."), ("b-later", "Third.")):
        content = [item("TEXT", None, text)]
        ward.add(name, structured_report(content, StudyInstanceUID="1.2.3.1", AccessionNumber=None, **title))
    ward.sr(1, "Clear.", VerificationFlag="VERIFIED")
    (study,), listed = ward.read()
    assert (study.report, listed) == (Report("Clear.", "Second addendum. Third."), [])


@pytest.mark.parametrize(
    ("heading", "report"),
    [
        ("Befund", Report("Text.")),
        ("Radiologischer Befund", Report("Text.")),
        ("Hallazgos", Report("Text.")),
        ("Résultats", Report("Text.")),
        ("Beurteilung", Report(impression="Text.")),
        ("Impresión diagnóstica", Report(impression="Text.")),
        ("CONCLUSIÓN", Report(impression="Text.")),
        ("Fragestellung", Report(indication="Text.")),
        ("Indicación", Report(indication="Text.")),
        ("Indicação clínica", Report(indication="Text.")),
        ("Voraufnahmen", Report(comparison="Text.")),
        ("Radiologist's interpretation", Report("Text.")),
        ("Verified report findings", Report("Text.")),
        ("Historia clínica", Report(indication="Text.")),
        ("Recommendations", Report()),
        ("Técnica", Report()),
        ("Patientenname", Report()),
        ("Nombre del paciente", Report()),
        ("Geburtsdatum", Report()),
        ("Subject ID", Report()),
        ("Radiologist", Report()),
    ],
)
def test_headings_of_other_languages_are_known_and_those_of_people_left_out(heading: str, report: Report) -> None:
    found = read_structured_report([section(heading, "Text.")])
    assert (found.report, found.has_unknown_headings) == (report, False)


@pytest.mark.parametrize("heading", ["Löydökset", "所見", "Wynik", "Miscellaneous remarks"])
def test_text_under_an_unknown_heading_is_read_as_findings_and_noted(ward: Ward, heading: str) -> None:
    ward.film(1)
    content = [section(heading, BIG), section("Impression", "See above.")]
    elements = {"SpecificCharacterSet": "ISO_IR 192", "StudyInstanceUID": "1.2.3.1", "AccessionNumber": None}
    ward.add("sr", structured_report(content, **elements))
    (study,), _ = ward.read()
    assert study.report == Report(BIG, "See above.")
    assert ["unknown heading" in note for note in study.notes] == [True]


def test_no_message_repeats_an_accession_number() -> None:
    accessions = AccessionNumbers()
    for study, number in (("a", "SECRET"), ("b", "SECRET"), ("c", "ONE"), ("c", "TWO"), ("d", "anon"), ("e", "FINE")):
        accessions.add(study, number)
    assert [accessions.study_of(number) for number in ("SECRET", "ONE", "anon", "FINE", "none")] == [None] * 3 + [
        "e",
        None,
    ]
    assert [accessions.why_ambiguous(number) for number in ("SECRET", "ONE", "FINE")] == [
        "shared by 2 studies",
        "that of a study whose files have several numbers",
        "",
    ]


@pytest.mark.parametrize("dummy", ["ANON", "0", "REMOVED", "unknown", "00000", "nan"])
def test_a_dummy_for_a_study_uid_makes_no_study_of_several(ward: Ward, dummy: str) -> None:
    for number in (1, 2, 3):
        uids = {"StudyInstanceUID": dummy, "SeriesInstanceUID": dummy, "SOPInstanceUID": dummy}
        ward.add(f"film{number}", **uids | {"AccessionNumber": f"A{number}"})
    content = [section("Findings", BIG)]
    ward.add("sr", structured_report(content, StudyInstanceUID=dummy, SeriesInstanceUID=dummy, AccessionNumber="A2"))
    studies, listed = ward.read()
    assert [(study.images[0].file, study.report.findings) for study in studies] == [
        ("film1", ""),
        ("film2", BIG),
        ("film3", ""),
    ]
    assert listed == []


def test_a_row_with_a_dummy_for_its_study_uid_goes_by_its_accession_number(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    ward.reports(f"study_instance_uid,accession_number,findings\nANON,A1,{BIG}\nANON,,Clear.\n")
    assert ward.texts() == {1: BIG, 2: ""}
    assert ward.listed() == [("reports.csv row 2", "row_without_file")]


DOSE = [
    item("TEXT", ("113832", "Identification of the X-Ray Source"), "tube 1"),
    item("CONTAINER", ("113706", "Irradiation Event"), children=[item("TEXT", ("121106", "Comment"), "Repeated.")]),
]


@pytest.mark.parametrize("kind", ["88.67", "88.65", "88.40", "88.50", "88.76", "113701", "112000"])
def test_reports_not_written_by_a_radiologist_are_ignored(ward: Ward, kind: str) -> None:
    title = item("TEXT", (kind, "X-Ray Radiation Dose Report")).ConceptNameCodeSequence
    of_class = {"SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{kind}"} if "." in kind else {"ConceptNameCodeSequence": title}
    ward.film(1)
    ward.film(2)
    for study in (1, 2):
        ward.add(f"a{study}", structured_report(DOSE, StudyInstanceUID=f"1.2.3.{study}", **of_class))
    ward.sr(1)
    assert ward.texts() == {1: BIG, 2: ""}
    assert (ward.listed(), ward.notes()) == ([], [])


@pytest.mark.parametrize(
    "title", ["Nachtrag zum Befund", "Befundnachtrag", "Adenda", "Aanvulling", "Addendum document"]
)
def test_titles_of_addenda_in_other_languages(ward: Ward, title: str) -> None:
    ward.film(1)
    ward.sr(1)
    named = item("TEXT", ("X", title)).ConceptNameCodeSequence
    added = structured_report(
        [section("Findings", "Rib fracture.")], StudyInstanceUID="1.2.3.1", ConceptNameCodeSequence=named
    )
    ward.add("z_later", added)
    (study,) = ward.read()[0]
    assert (study.report.findings, study.report.impression) == (BIG, "Rib fracture.")
    assert ward.notes() == []


def test_findings_of_an_addendum_become_part_of_the_impression() -> None:
    added = item("CONTAINER", ("X", "Addendum"), children=[section("Findings", "New mass.", "121070")])
    content = [added, section("Findings", "Clear.", "121070"), section("Impression", "Normal.", "121072")]
    assert read_structured_report(content).report == Report("Clear.", "Normal. New mass.")
