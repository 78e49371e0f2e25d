from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from archives.dicom.folder import DicomFolderSource
from archives.dicom.pseudonyms import hash_uid
from archives.views import view_of_header
from retrieval.errors import MissingColumn, SourceError
from retrieval.records import Quarantined, Report, Study
from tests.dicom_files import BIRTH_DATE, PATIENT, PATIENT_ID, dataset_of, dicom, written
from tests.ingest.worker_fixtures import RecordedProgress

SALT = bytes(range(32))
PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
ACCESSION = "ACC-90210"
STUDY_DATE = "20240229"


class Tree:
    """A folder of DICOM files; every file holds identifying elements that must never come out of the source."""

    def __init__(self, root: Path) -> None:
        self.root = root / "tree"
        self.root.mkdir()
        self.table: Path | None = None

    def add(self, name: str, content: bytes | None = None, **elements: Any) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        defaults = {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": f"1.2.3.{zlib.crc32(name.encode())}"}
        defaults |= {"StudyDate": STUDY_DATE, "AccessionNumber": ACCESSION, "InstitutionName": PATIENT}
        path.write_bytes(content if content is not None else dicom(PIXELS, **defaults | elements))

    def reports(self, text: str) -> None:
        self.table = self.root.parent / "reports.csv"
        self.table.write_text(text)

    def source(self, **options: Any) -> DicomFolderSource:
        return DicomFolderSource(self.root, dataset="ward", salt=SALT, reports_csv=self.table, **options)

    def read(self) -> tuple[list[Study], list[tuple[str, str]]]:
        records = list(self.source())
        everything = repr(records)
        for secret in (PATIENT, PATIENT_ID, BIRTH_DATE, STUDY_DATE, ACCESSION, "1.2.3"):
            assert secret not in everything
        set_aside = [(record.file, record.code) for record in records if isinstance(record, Quarantined)]
        return [record for record in records if isinstance(record, Study)], set_aside


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def structured_report(items: list[Dataset], **elements: Any) -> bytes:
    defaults = {"SOPClassUID": BasicTextSRStorage, "Modality": "SR", "StudyInstanceUID": "1.2.3"}
    dataset = dataset_of(None, **defaults | elements)
    dataset.ContentSequence = Sequence(items)
    return written(dataset)


def item(
    kind: str,
    name: tuple[str, str] | None = None,
    text: str = "",
    children: list[Dataset] | None = None,
    relation: str = "CONTAINS",
) -> Dataset:
    found = Dataset()
    found.RelationshipType = relation
    found.ValueType = kind
    if name:
        code = Dataset()
        code.CodeValue, code.CodeMeaning = name
        code.CodingSchemeDesignator = "DCM"
        found.ConceptNameCodeSequence = Sequence([code])
    if kind == "TEXT":
        found.TextValue = text
    if children is not None:
        found.ContentSequence = Sequence(children)
    return found


def section(name: str, text: str, code: str = "99") -> Dataset:
    return item("CONTAINER", (code, name), children=[item("TEXT", ("99", "Text"), text)])


def test_images_of_a_study_come_together_in_the_order_of_their_paths_under_hashed_ids(tree: Tree) -> None:
    tree.add("b/2.dcm", SOPInstanceUID="1.2.3.2")
    tree.add("a/IM0001", SOPInstanceUID="1.2.3.1", ViewPosition="LL")
    tree.add("a/other", StudyInstanceUID="1.2.3.9", SOPInstanceUID="1.2.3.3")
    studies, set_aside = tree.read()
    assert not set_aside
    assert [study.study_id for study in studies] == [hash_uid(SALT, "1.2.3"), hash_uid(SALT, "1.2.3.9")]
    assert [image.file for image in studies[0].images] == ["a/IM0001", "b/2.dcm"]
    first = studies[0].images[0]
    assert (first.image_id, first.view, first.name) == (hash_uid(SALT, "1.2.3.1"), "lateral", "a/IM0001")
    assert first.path == tree.root / "a/IM0001"
    assert (studies[0].dataset, studies[0].report) == ("ward", Report())


def test_another_salt_gives_other_ids(tree: Tree) -> None:
    tree.add("1.dcm")
    other = DicomFolderSource(tree.root, dataset="ward", salt=bytes(32))
    assert [record.study_id for record in other if isinstance(record, Study)] != [tree.read()[0][0].study_id]


def test_a_source_can_be_read_twice_and_counts_what_it_sets_aside(tree: Tree) -> None:
    tree.add("1.dcm")
    tree.add("notes.txt", b"hello")
    source = tree.source()
    assert list(source) == list(source)
    assert source.image_count() == 2


def test_the_scan_reports_progress(tree: Tree) -> None:
    for name in "abc":
        tree.add(name)
    progress = RecordedProgress()
    tree.source(progress=progress)
    assert progress.counts("Scanning DICOM headers") == [(1, 3), (2, 3), (3, 3)]


def test_directories_of_media_hidden_files_and_companions_are_passed_over(tree: Tree) -> None:
    tree.add("1.dcm")
    tree.add("DICOMDIR", b"whatever")
    tree.add("disk2/dicomdir", b"whatever")
    tree.add("copy-of-directory", written(dataset_of(None, SOPClassUID="1.2.840.10008.1.3.10", Modality=None)))
    tree.add(".hidden", b"text")
    tree.add(".git/config", b"text")
    for number, (storage, modality) in enumerate(
        [
            (GrayscaleSoftcopyPresentationStateStorage, "PR"),
            (KeyObjectSelectionDocumentStorage, "KO"),
            ("1.2.840.10008.5.1.4.1.1.104.1", "DOC"),
            (BasicTextSRStorage, "SR"),
        ]
    ):
        tree.add(f"companion{number}", written(dataset_of(None, SOPClassUID=storage, Modality=modality)))
    studies, set_aside = tree.read()
    assert len(studies) == 1
    assert not set_aside


def test_files_that_cannot_be_used_are_named_with_their_code(tree: Tree) -> None:
    tree.add("1.dcm")
    tree.add("empty.dcm", b"")
    tree.add("report.pdf", b"%PDF-1.7")
    tree.add("picture.png", b"\x89PNG\r\n\x1a\n")
    tree.add("ct.dcm", SOPClassUID=CTImageStorage, Modality="CT")
    tree.add("twin.dcm", (tree.root / "1.dcm").read_bytes())
    bomb = dicom(PIXELS, syntax=DeflatedExplicitVRLittleEndian)
    tree.add("cut.dcm", bomb[:-20])
    studies, set_aside = tree.read()
    assert [image.file for study in studies for image in study.images] == ["1.dcm", "twin.dcm"]
    assert len({image.image_id for study in studies for image in study.images}) == 1  # the worker takes one
    assert set_aside == [
        ("ct.dcm", "wrong_modality"),
        ("cut.dcm", "truncated_image"),
        ("empty.dcm", "empty_file"),
        ("picture.png", "wrong_type"),
        ("report.pdf", "wrong_type"),
    ]


@pytest.mark.parametrize(
    ("modality", "storage", "taken"),
    [
        ("CR", None, True),
        ("DX", SecondaryCaptureImageStorage, True),
        ("RG", None, True),
        (" dx ", None, True),
        (None, None, True),
        ("", SecondaryCaptureImageStorage, True),
        (None, CTImageStorage, False),
        ("OT", SecondaryCaptureImageStorage, False),
        ("MG", None, False),
        ("US", None, False),
    ],
)
def test_radiographs_are_taken_and_other_modalities_are_not(
    tree: Tree, modality: str | None, storage: str | None, taken: bool
) -> None:
    elements = {"SOPClassUID": storage} if storage else {}
    tree.add("1.dcm", Modality=modality, **elements)
    studies, set_aside = tree.read()
    assert (len(studies), set_aside) == ((1, []) if taken else (0, [("1.dcm", "wrong_modality")]))


def test_a_modality_that_holds_something_else_is_not_repeated(tree: Tree) -> None:
    tree.add("1.dcm", Modality=PATIENT.replace("^", " "))
    records = list(tree.source())
    assert "PRIVATE" not in repr(records)


def test_links_out_of_the_tree_are_set_aside_and_circles_are_no_trap(tree: Tree) -> None:
    outside = tree.root.parent / "outside"
    outside.mkdir()
    (outside / "secret.dcm").write_bytes(dicom(PIXELS))
    tree.add("a/1.dcm")
    (tree.root / "file").symlink_to(outside / "secret.dcm")
    (tree.root / "folder").symlink_to(outside)
    (tree.root / "a/up").symlink_to(tree.root)
    (tree.root / "loop").symlink_to("loop")
    (tree.root / "broken").symlink_to("nothing")
    (tree.root / "again").symlink_to("a/1.dcm")
    studies, set_aside = tree.read()
    assert [image.file for study in studies for image in study.images] == ["a/1.dcm"]
    assert set_aside == [
        ("broken", "missing_file"),
        ("file", "path_outside"),
        ("folder", "path_outside"),
        ("loop", "missing_file"),
    ]


def test_a_link_to_a_hidden_store_in_the_tree_is_followed(tree: Tree) -> None:
    tree.add(".store/8f3a")
    (tree.root / "1.dcm").symlink_to(".store/8f3a")
    studies, set_aside = tree.read()
    assert [image.file for study in studies for image in study.images] == ["1.dcm"]
    assert not set_aside


def test_a_name_that_is_not_utf_8_is_set_aside(tree: Tree) -> None:
    tree.add("1.dcm")
    os.rename(os.fsencode(tree.root / "1.dcm"), os.fsencode(tree.root) + b"/\xff.dcm")
    assert tree.read() == ([], [("\\xff.dcm", "bad_name")])


def test_files_without_uids_are_studies_of_their_own(tree: Tree) -> None:
    for name in ("a", "b"):
        tree.add(name, StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)
    studies, set_aside = tree.read()
    assert not set_aside
    assert len({study.study_id for study in studies}) == 2
    assert len({image.image_id for study in studies for image in study.images}) == 2


def test_odd_and_repeated_values_never_break_the_scan(tree: Tree) -> None:
    dataset = dataset_of(PIXELS)
    for tag in (0x00080060, 0x0020000D, 0x00080050, 0x00185101, 0x0008103E):
        dataset.add_new(tag, "LO", ["CR", "two", "three"])
    dataset.SpecificCharacterSet = "ISO_IR 100"
    tree.add("1.dcm", written(dataset).replace(b"ISO_IR 100", b"NO_CHARSET"))
    empty = dataset_of(PIXELS)
    for tag in (0x00080060, 0x0020000D, 0x00080050, 0x00185101, 0x00540220):
        empty.add_new(tag, "SQ" if tag == 0x00540220 else "LO", None)
    tree.add("2.dcm", written(empty))
    studies, set_aside = tree.read()
    assert len(studies) == 2
    assert not set_aside


REPORTS = "AccessionNumber,Findings,IMPRESSION,MeSH,Problems,Age\n"


def test_a_table_gives_reports_by_accession_number(tree: Tree) -> None:
    tree.add("1.dcm")
    tree.add("2.dcm", StudyInstanceUID="1.2.3.4", AccessionNumber="007")
    tree.reports(REPORTS + f"{ACCESSION},Clear lungs.,Normal.,normal,normal,47\n007, Nodule. ,,Nodule/lung,Nodule,1\n")
    (first, second), set_aside = tree.read()
    assert not set_aside
    assert (first.report, first.mesh) == (Report("Clear lungs.", "Normal."), "normal")
    assert (second.report, second.mesh, second.problems) == (Report("Nodule."), "Nodule/lung", "Nodule")


def test_rows_that_match_nothing_or_repeat_are_named_by_number_only(tree: Tree) -> None:
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
def test_a_table_without_key_or_text_is_an_error(tree: Tree, header: str) -> None:
    tree.reports(f"{header}\n1,2\n")
    with pytest.raises(MissingColumn, match="accession_number"):
        tree.source()


def test_a_table_that_lies_in_the_tree_is_no_stranger_there(tree: Tree) -> None:
    tree.add("1.dcm")
    tree.table = tree.root / "reports.csv"
    tree.table.write_text(f"accession_number,findings\n{ACCESSION},Clear.\n")
    (study,), set_aside = tree.read()
    assert not set_aside
    assert study.report.findings == "Clear."


def test_a_missing_folder_or_table_is_an_error(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        DicomFolderSource(tmp_path / "nowhere", dataset="ward", salt=SALT)
    with pytest.raises(SourceError, match=r"gone\.csv"):
        DicomFolderSource(tree.root, dataset="ward", salt=SALT, reports_csv=tmp_path / "gone.csv")


def test_a_structured_report_gives_its_sections(tree: Tree) -> None:
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
    (study,), set_aside = tree.read()
    assert not set_aside
    assert study.report == Report(
        findings="Lungs are clear. Heart is normal. Unnamed words. More.",
        impression="Normal chest.",
        indication="Cough.",
        comparison="None. Effusion then.",
    )


def test_a_structured_report_of_another_study_is_found_by_accession_number(tree: Tree) -> None:
    tree.add("1.dcm")
    report = [section("Findings", "Clear.")]
    tree.add("sr", structured_report(report, StudyInstanceUID="1.2.3.77", AccessionNumber=ACCESSION))
    assert tree.read()[0][0].report.findings == "Clear."


def test_of_structured_reports_a_verified_one_stands_and_else_the_first(tree: Tree) -> None:
    tree.add("1.dcm")
    for name, flag in (("sr1", "UNVERIFIED"), ("sr2", "VERIFIED"), ("sr3", "VERIFIED")):
        tree.add(name, structured_report([section("Findings", f"{name}.")], VerificationFlag=flag))
    assert tree.read()[0][0].report.findings == "sr2."


def test_the_table_comes_before_structured_reports(tree: Tree) -> None:
    tree.add("1.dcm")
    tree.add("sr", structured_report([section("Findings", "From SR.")]))
    tree.reports(f"accession_number,findings\n{ACCESSION},From table.\n")
    assert tree.read()[0][0].report.findings == "From table."


def test_the_position_comes_before_the_code_and_the_code_before_words() -> None:
    assert view_of_header("PA", [("399173006", "left lateral")], ["lateral"]) == "frontal"
    assert view_of_header("", [("399173006", "")], ["PA"]) == "lateral"
    assert view_of_header("", [("0", "postero-anterior")], ["lateral"]) == "frontal"
    assert view_of_header("", [], ["PA and lateral", "THORAX LAT"]) == "lateral"
    assert view_of_header("", [], []) == "unknown"


def test_a_view_code_is_read_from_a_file(tree: Tree) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "272479007", "SCT", "Projektion"
    tree.add("1.dcm", ViewCodeSequence=Sequence([code]))
    assert tree.read()[0][0].images[0].view == "frontal"
