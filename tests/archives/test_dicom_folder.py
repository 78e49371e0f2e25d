from __future__ import annotations

import os
from pathlib import Path

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
from retrieval.errors import SourceError
from retrieval.records import Report, Study
from tests.archives.dicom_tree import PIXELS, SALT, DicomTree
from tests.dicom_files import PATIENT, encode_dataset, make_dataset, make_dicom
from tests.ingest.worker_fixtures import RecordedProgress


@pytest.fixture
def tree(tmp_path: Path) -> DicomTree:
    return DicomTree(tmp_path)


def test_images_of_a_study_come_together_in_the_order_of_their_paths_under_hashed_ids(tree: DicomTree) -> None:
    tree.add("b/2.dcm", SOPInstanceUID="1.2.3.2")
    tree.add("a/IM0001", SOPInstanceUID="1.2.3.1", ViewPosition="LL")
    tree.add("a/other", StudyInstanceUID="1.2.3.9", SOPInstanceUID="1.2.3.3")
    studies, quarantined = tree.read()
    assert not quarantined
    assert [study.study_id for study in studies] == [hash_uid(SALT, "1.2.3"), hash_uid(SALT, "1.2.3.9")]
    assert [image.file for image in studies[0].images] == ["a/IM0001", "b/2.dcm"]
    first = studies[0].images[0]
    assert (first.image_id, first.view, first.name) == (hash_uid(SALT, "1.2.3.1"), "lateral", "a/IM0001")
    assert first.path == tree.root / "a/IM0001"
    assert (studies[0].dataset, studies[0].report) == ("ward", Report())


def test_another_salt_gives_other_ids(tree: DicomTree) -> None:
    tree.add("1.dcm")
    other = DicomFolderSource(tree.root, dataset="ward", salt=bytes(32))
    assert [record.study_id for record in other if isinstance(record, Study)] != [tree.read()[0][0].study_id]


def test_a_source_can_be_read_twice_and_counts_quarantined_files(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.add("notes.txt", b"hello")
    source = tree.source()
    assert list(source) == list(source)
    assert source.image_count() == 2


def test_the_scan_reports_progress(tree: DicomTree) -> None:
    for name in "abc":
        tree.add(name)
    progress = RecordedProgress()
    tree.source(progress=progress)
    assert progress.counts("Scanning DICOM headers") == [(1, 3), (2, 3), (3, 3)]


def test_dicomdir_hidden_files_and_companion_objects_are_ignored(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.add("DICOMDIR", b"whatever")
    tree.add("disk2/dicomdir", b"whatever")
    tree.add("copy-of-directory", encode_dataset(make_dataset(None, SOPClassUID="1.2.840.10008.1.3.10", Modality=None)))
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
        tree.add(f"companion{number}", encode_dataset(make_dataset(None, SOPClassUID=storage, Modality=modality)))
    studies, quarantined = tree.read()
    assert len(studies) == 1
    assert not quarantined


def test_files_that_cannot_be_used_are_named_with_their_code(tree: DicomTree) -> None:
    tree.add("1.dcm")
    tree.add("empty.dcm", b"")
    tree.add("report.pdf", b"%PDF-1.7")
    tree.add("picture.png", b"\x89PNG\r\n\x1a\n")
    tree.add("ct.dcm", SOPClassUID=CTImageStorage, Modality="CT")
    tree.add("twin.dcm", (tree.root / "1.dcm").read_bytes())
    bomb = make_dicom(PIXELS, syntax=DeflatedExplicitVRLittleEndian)
    tree.add("cut.dcm", bomb[:-20])
    studies, quarantined = tree.read()
    assert [image.file for study in studies for image in study.images] == ["1.dcm", "twin.dcm"]
    assert len({image.image_id for study in studies for image in study.images}) == 1  # the worker takes one
    assert quarantined == [
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
def test_only_radiographs_are_accepted(tree: DicomTree, modality: str | None, storage: str | None, taken: bool) -> None:
    elements = {"SOPClassUID": storage} if storage else {}
    tree.add("1.dcm", Modality=modality, **elements)
    studies, quarantined = tree.read()
    assert (len(studies), quarantined) == ((1, []) if taken else (0, [("1.dcm", "wrong_modality")]))


def test_a_modality_that_is_no_defined_term_is_not_repeated(tree: DicomTree) -> None:
    tree.add("1.dcm", Modality=PATIENT.replace("^", " "))
    records = list(tree.source())
    assert "PRIVATE" not in repr(records)


def test_links_outside_the_tree_are_quarantined_and_circles_of_links_do_no_harm(tree: DicomTree) -> None:
    outside = tree.root.parent / "outside"
    outside.mkdir()
    (outside / "secret.dcm").write_bytes(make_dicom(PIXELS))
    tree.add("a/1.dcm")
    (tree.root / "file").symlink_to(outside / "secret.dcm")
    (tree.root / "folder").symlink_to(outside)
    (tree.root / "a/up").symlink_to(tree.root)
    (tree.root / "loop").symlink_to("loop")
    (tree.root / "broken").symlink_to("nothing")
    (tree.root / "again").symlink_to("a/1.dcm")
    studies, quarantined = tree.read()
    assert [image.file for study in studies for image in study.images] == ["a/1.dcm"]
    assert quarantined == [
        ("broken", "missing_file"),
        ("file", "path_outside"),
        ("folder", "path_outside"),
        ("loop", "missing_file"),
    ]


def test_a_link_to_a_hidden_store_in_the_tree_is_followed(tree: DicomTree) -> None:
    tree.add(".store/8f3a")
    (tree.root / "1.dcm").symlink_to(".store/8f3a")
    studies, quarantined = tree.read()
    assert [image.file for study in studies for image in study.images] == ["1.dcm"]
    assert not quarantined


def test_a_name_that_is_not_utf_8_is_quarantined(tree: DicomTree) -> None:
    tree.add("1.dcm")
    os.rename(os.fsencode(tree.root / "1.dcm"), os.fsencode(tree.root) + b"/\xff.dcm")
    assert tree.read() == ([], [("\\xff.dcm", "bad_name")])


def test_files_without_uids_are_separate_studies(tree: DicomTree) -> None:
    for name in ("a", "b"):
        tree.add(name, StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)
    studies, quarantined = tree.read()
    assert not quarantined
    assert len({study.study_id for study in studies}) == 2
    assert len({image.image_id for study in studies for image in study.images}) == 2


def test_odd_and_repeated_values_never_break_the_scan(tree: DicomTree) -> None:
    dataset = make_dataset(PIXELS)
    for tag in (0x00080060, 0x0020000D, 0x00080050, 0x00185101, 0x0008103E):
        dataset.add_new(tag, "LO", ["CR", "two", "three"])
    dataset.SpecificCharacterSet = "ISO_IR 100"
    tree.add("1.dcm", encode_dataset(dataset).replace(b"ISO_IR 100", b"NO_CHARSET"))
    empty = make_dataset(PIXELS)
    for tag in (0x00080060, 0x0020000D, 0x00080050, 0x00185101, 0x00540220):
        empty.add_new(tag, "SQ" if tag == 0x00540220 else "LO", None)
    tree.add("2.dcm", encode_dataset(empty))
    studies, quarantined = tree.read()
    assert len(studies) == 2
    assert not quarantined


def test_a_missing_folder_or_table_is_an_error(tree: DicomTree, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        DicomFolderSource(tmp_path / "nowhere", dataset="ward", salt=SALT)
    with pytest.raises(SourceError, match=r"gone\.csv"):
        DicomFolderSource(tree.root, dataset="ward", salt=SALT, reports_csv=tmp_path / "gone.csv")


def test_view_position_goes_before_code_and_code_before_words() -> None:
    assert view_of_header("PA", [("399173006", "left lateral")], ["lateral"]) == "frontal"
    assert view_of_header("", [("399173006", "")], ["PA"]) == "lateral"
    assert view_of_header("", [("0", "postero-anterior")], ["lateral"]) == "frontal"
    assert view_of_header("", [], ["PA and lateral", "THORAX LAT"]) == "lateral"
    assert view_of_header("", [], []) == "unknown"


def test_a_view_code_is_read_from_a_file(tree: DicomTree) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "272479007", "SCT", "Projektion"
    tree.add("1.dcm", ViewCodeSequence=Sequence([code]))
    assert tree.read()[0][0].images[0].view == "frontal"
