from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from archives.indiana import IndianaSource
from retrieval.errors import MissingColumn, SourceError
from retrieval.records import Quarantined, Report, Study
from tests.archives.indiana_archive import ONE_REPORT, REPORTS, Archive

INDIANA = Path(os.environ.get("CXR_INDIANA_DIR", Path(__file__).parents[3] / "shared" / "indiana"))


def test_a_study_carries_its_images_in_order_its_report_and_its_terms(archive: Archive) -> None:
    (study,), quarantined = archive.read()
    assert not quarantined
    assert (study.study_id, study.dataset) == ("1", "indiana")
    assert [(image.image_id, image.view) for image in study.images] == [("a.png", "frontal"), ("b.png", "lateral")]
    assert study.images[0].path == archive.images / "a.png"
    assert study.report == Report("Large heart, XXXX.", "Big heart.", "Cough.", "")
    assert (study.mesh, study.problems) == ("Cardiomegaly/mild;Nodule/lung", "Cardiomegaly;Nodule")


def test_rows_of_one_study_may_be_scattered(archive: Archive) -> None:
    archive.tables(ONE_REPORT + "2,normal,normal,,,,,\n", "1,a.png,Frontal\n2,c.png,Frontal\n1,b.png,Lateral\n")
    archive.files("c.png")
    studies, _ = archive.read()
    assert [(study.study_id, len(study.images)) for study in studies] == [("1", 2), ("2", 1)]


@pytest.mark.parametrize(
    ("written", "view"),
    [("Frontal", "frontal"), ("LATERAL", "lateral"), (" frontal ", "frontal"), ("Oblique", "unknown"), ("", "unknown")],
)
def test_views_are_read_whatever_their_case_and_others_are_unknown(archive: Archive, written: str, view: str) -> None:
    archive.tables(ONE_REPORT, f"1,a.png,{written}\n")
    assert archive.read()[0][0].images[0].view == view


def test_words_that_programs_write_for_missing_values_are_missing(archive: Archive) -> None:
    archive.tables(REPORTS + "1,nan,<NA>,,NA,null,None,N/A\n", "1,a.png,nan\n")
    (study,), _ = archive.read()
    assert (study.report, study.mesh, study.problems) == (Report(), "", "")


@pytest.mark.parametrize("missing", ["", "nan", " NULL ", "<NA>", "N/A"])
def test_rows_without_a_uid_never_meet(archive: Archive, missing: str) -> None:
    archive.tables(
        ONE_REPORT + f"{missing},,,,,,Nobody's.,\n",
        f"{missing},a.png,Frontal\n{missing},b.png,Lateral\n1,c.png,Frontal\n",
    )
    archive.files("c.png")
    studies, quarantined = archive.read()
    assert [(study.study_id, study.report.findings) for study in studies] == [
        ("a.png", ""),
        ("b.png", ""),
        ("1", "Large heart, XXXX."),
    ]
    assert quarantined == [("reports.csv row 2", "row_without_file")]


def test_uids_that_became_floats_in_one_table_meet_those_of_the_other(archive: Archive) -> None:
    archive.tables(ONE_REPORT, "1.0,a.png,Frontal\n1.0,b.png,Lateral\n")
    (study,), quarantined = archive.read()
    assert not quarantined
    assert (study.study_id, study.report.impression) == ("1", "Big heart.")


def test_a_uid_keeps_its_leading_zeros(archive: Archive) -> None:
    archive.tables(REPORTS + "007,,,,,,Clear.,\n", "007,a.png,Frontal\n")
    assert archive.read()[0][0].study_id == "007"


@pytest.mark.parametrize("cell", ["n" * 5000, r"b'\x89PNG\r\n'", "{'bytes': b'abc'; 'path': 'a.png'}"])
def test_image_content_is_never_repeated_in_messages(archive: Archive, cell: str) -> None:
    archive.tables(ONE_REPORT, f"1,{cell},Frontal\n")
    assert archive.read()[1] == [("row 1", "missing_file")]
    assert cell[:20] not in repr(list(archive.source()))


def test_of_reports_with_one_uid_that_differ_none_is_used(archive: Archive) -> None:
    archive.tables(ONE_REPORT + "1,normal,normal,,,,Clear.,\n", "1,a.png,Frontal\n")
    (study,), quarantined = archive.read()
    assert (study.report, study.mesh, study.problems) == (Report(), "", "")
    assert quarantined == [("uid 1", "conflicting_report")]


def test_reports_with_one_uid_that_say_the_same_count_once(archive: Archive) -> None:
    archive.tables(ONE_REPORT + ONE_REPORT.removeprefix(REPORTS), "1,a.png,Frontal\n")
    (study,), quarantined = archive.read()
    assert study.report.impression == "Big heart."
    assert quarantined == [("uid 1", "duplicate_id")]


@pytest.mark.parametrize("header", [REPORTS.replace("image", "findings"), REPORTS.replace("image", "Findings ")])
def test_two_columns_for_one_thing_are_an_error(archive: Archive, header: str) -> None:
    archive.tables(header + "1,,,Clear.,,,Effusion.,\n", "1,a.png,Frontal\n")
    with pytest.raises(SourceError, match="findings"):
        archive.source()


def test_images_without_a_report_make_a_study_with_an_empty_one(archive: Archive) -> None:
    archive.tables(ONE_REPORT, "9,a.png,Frontal\n")
    (study,), quarantined = archive.read()
    assert not quarantined
    assert (study.study_id, study.report, study.mesh) == ("9", Report(), "")
    assert study.notes == ("no report in reports.csv has the uid of this study",)


def test_a_report_without_images_is_left_out(archive: Archive) -> None:
    archive.tables(ONE_REPORT + "2,,,,,,Clear.,\n", "1,a.png,Frontal\n")
    studies, quarantined = archive.read()
    assert [study.study_id for study in studies] == ["1"]
    assert not quarantined


def test_uids_restrict_the_archive(archive: Archive) -> None:
    archive.tables(
        ONE_REPORT + "2,,,,,,Clear.,\n2,,,,,,Again.,\n", "1,a.png,Frontal\n2,b.png,Frontal\n2,gone.png,Frontal\n"
    )
    source = archive.source(uids={"1"})
    assert source.image_count() == 1
    assert [record.study_id for record in source if isinstance(record, Study)] == ["1"]
    assert not [record for record in source if isinstance(record, Quarantined)]


def test_a_source_can_be_read_twice(archive: Archive) -> None:
    source = archive.source()
    assert list(source) == list(source)


def test_the_count_includes_all_records(archive: Archive) -> None:
    archive.tables(ONE_REPORT + "1,,,,,,Again.,\n", "1,a.png,Frontal\n1,b.png,Lateral\n1,gone.png,Lateral\n")
    archive.files("unlisted.png")
    records = list(archive.source())
    images = sum(len(record.images) for record in records if isinstance(record, Study))
    assert archive.source().image_count() == 5
    assert images + sum(isinstance(record, Quarantined) for record in records) == 5


def test_a_missing_column_is_named_with_file_and_what_was_found(archive: Archive) -> None:
    archive.tables(ONE_REPORT, "1,a.png\n", header="uid,file\n")
    with pytest.raises(
        MissingColumn, match=r"projections\.csv lacks the columns filename, projection.*found uid, file"
    ):
        archive.source()


def test_a_missing_table_is_named(archive: Archive) -> None:
    (archive.folder / "reports.csv").unlink()
    with pytest.raises(SourceError, match=r"reports\.csv does not exist"):
        archive.source()


@pytest.mark.parametrize("content", [b"", b"uid,filename,projection\n1,\x81\xfe.png,Frontal\n", b'uid\n"1,2\n'])
def test_a_file_that_is_no_table_is_an_error(archive: Archive, content: bytes) -> None:
    (archive.folder / "projections.csv").write_bytes(content)
    with pytest.raises(SourceError, match=r"projections\.csv"):
        archive.source()


def test_a_byte_order_mark_is_not_part_of_the_first_column(archive: Archive) -> None:
    (archive.folder / "reports.csv").write_text(ONE_REPORT, encoding="utf-8-sig")
    assert archive.read()[0][0].report.impression == "Big heart."


def test_in_the_real_collection_only_rows_without_an_image_are_quarantined() -> None:
    if not INDIANA.is_dir():
        pytest.skip(f"the Indiana collection is not at {INDIANA} (CXR_INDIANA_DIR)")
    source = IndianaSource(INDIANA / "indiana_reports.csv", INDIANA / "indiana_projections.csv", INDIANA / "images")
    records = list(source)
    images = [image for record in records if isinstance(record, Study) for image in record.images]
    codes = Counter(record.code for record in records if isinstance(record, Quarantined))
    assert source.image_count() == 6717
    assert len(images) == 6677
    assert codes == {"missing_file": 40}
    assert set(Counter(image.view for image in images)) == {"frontal", "lateral"}
