from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from archives.indiana import IndianaSource
from retrieval.errors import MissingColumn, SourceError
from retrieval.records import Quarantined, Report, Study

INDIANA = Path(os.environ.get("CXR_INDIANA_DIR", Path(__file__).parents[3] / "shared" / "indiana"))

REPORTS = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
ONE_REPORT = (
    REPORTS + '1,Cardiomegaly/mild;Nodule/lung,Cardiomegaly;Nodule,PA,Cough., None ,"Large heart, XXXX.",Big heart.\n'
)


class Archive:
    """A small archive in a folder; tables are written as given, images as empty files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        self.tables(ONE_REPORT, "1,a.png,Frontal\n1,b.png,Lateral\n")
        self.files("a.png", "b.png")

    def tables(self, reports: str, rows: str, *, header: str = "uid,filename,projection\n") -> None:
        (self.folder / "reports.csv").write_text(reports)
        (self.folder / "projections.csv").write_text(header + rows)

    def files(self, *names: str) -> None:
        for name in names:
            (self.images / name).touch()

    def source(self, *, uids: set[str] | None = None) -> IndianaSource:
        return IndianaSource(self.folder / "reports.csv", self.folder / "projections.csv", self.images, uids=uids)

    def read(self) -> tuple[list[Study], list[tuple[str, str]]]:
        """The studies, and file and code of quarantined rows."""
        records = list(self.source())
        quarantined = [(record.file, record.code) for record in records if isinstance(record, Quarantined)]
        return [record for record in records if isinstance(record, Study)], [
            (file, code) for file, code in quarantined if code != "unlisted_file"
        ]

    def unlisted(self, *, uids: set[str] | None = None) -> list[str]:
        """Files that no row names; they come last."""
        records = list(self.source(uids=uids))
        found = [r.file for r in records if isinstance(r, Quarantined) and r.code == "unlisted_file"]
        assert [r.file for r in records[len(records) - len(found) :] if isinstance(r, Quarantined)] == found
        return found


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


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


def test_a_missing_file_is_quarantined_and_the_other_images_of_the_study_are_kept(archive: Archive) -> None:
    (archive.images / "b.png").unlink()
    (study,), quarantined = archive.read()
    assert [image.image_id for image in study.images] == ["a.png"]
    assert quarantined == [("b.png", "missing_file")]


def test_a_study_without_any_image_does_not_come_out(archive: Archive) -> None:
    archive.tables(ONE_REPORT, "1,gone.png,Frontal\n")
    assert archive.read() == ([], [("gone.png", "missing_file")])


def test_an_empty_filename_is_a_missing_file(archive: Archive) -> None:
    archive.tables(ONE_REPORT, "1,,Frontal\n1,a.png,Frontal\n")
    assert archive.read()[1] == [("row 1", "missing_file")]


def test_a_folder_by_the_name_of_an_image_is_a_missing_file(archive: Archive) -> None:
    (archive.images / "c.png").mkdir()
    archive.tables(ONE_REPORT, "1,c.png,Frontal\n")
    assert archive.read()[1] == [("c.png", "missing_file")]


@pytest.mark.parametrize("name", ["../secret.png", "x/../../secret.png", "{absolute}"])
def test_a_file_name_that_leads_outside_the_folder_is_quarantined(archive: Archive, name: str) -> None:
    secret = archive.folder / "secret.png"
    secret.touch()
    name = name.format(absolute=secret)
    archive.tables(ONE_REPORT, f"1,{name},Frontal\n1,a.png,Lateral\n")
    (study,), quarantined = archive.read()
    assert quarantined == [(name, "path_outside")]
    assert [image.image_id for image in study.images] == ["a.png"]


def test_a_link_outside_the_folder_is_quarantined_and_a_link_inside_is_followed(archive: Archive) -> None:
    (archive.folder / "secret.png").touch()
    (archive.images / "out.png").symlink_to(archive.folder / "secret.png")
    (archive.images / "in.png").symlink_to(archive.images / "a.png")
    archive.tables(ONE_REPORT, "1,out.png,Frontal\n1,in.png,Frontal\n")
    (study,), quarantined = archive.read()
    assert quarantined == [("out.png", "path_outside")]
    assert study.images[0].image_id == "in.png"
    assert study.images[0].path == (archive.images / "a.png").resolve()


def test_a_name_no_file_system_takes_is_a_missing_file(archive: Archive) -> None:
    name = "n" * 300
    archive.tables(ONE_REPORT, f"1,{name},Frontal\n")
    assert archive.read()[1] == [(name, "missing_file")]


@pytest.mark.parametrize("cell", ["n" * 5000, r"b'\x89PNG\r\n'", "{'bytes': b'abc'; 'path': 'a.png'}"])
def test_image_content_is_never_repeated_in_messages(archive: Archive, cell: str) -> None:
    archive.tables(ONE_REPORT, f"1,{cell},Frontal\n")
    assert archive.read()[1] == [("row 1", "missing_file")]
    assert cell[:20] not in repr(list(archive.source()))


def test_files_in_subfolders_are_found(archive: Archive) -> None:
    (archive.images / "p10").mkdir()
    archive.files("p10/a.png")
    archive.tables(ONE_REPORT, "1,p10/a.png,Frontal\n")
    (study,), quarantined = archive.read()
    assert not quarantined
    assert study.images[0].image_id == "p10/a.png"


@pytest.mark.parametrize("again", ["a.png", "./a.png", "sub/../a.png", ".\\a.png", "link.png"])
def test_a_file_of_two_uids_is_neither_s(archive: Archive, again: str) -> None:
    archive.tables(ONE_REPORT + "2,,,,,,,\n", f"1,a.png,Frontal\n2,{again},Lateral\n2,b.png,Lateral\n")
    (archive.images / "sub").mkdir()
    (archive.images / "link.png").symlink_to("a.png")
    studies, quarantined = archive.read()
    assert [(study.study_id, [image.image_id for image in study.images]) for study in studies] == [("2", ["b.png"])]
    assert quarantined == [("a.png", "conflicting_study"), (again, "conflicting_study")]


def test_a_file_in_two_rows_of_a_study_counts_once(archive: Archive) -> None:
    archive.tables(ONE_REPORT, "1,a.png,Frontal\n1,./a.png,Frontal\n")
    (study,), quarantined = archive.read()
    assert [image.image_id for image in study.images] == ["a.png"]
    assert quarantined == [("./a.png", "duplicate_id")]


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


def test_files_that_no_row_names_come_last_sorted_and_hidden_ones_not_at_all(archive: Archive) -> None:
    (archive.images / "p10" / ".cache").mkdir(parents=True)
    archive.files("p10/c.png", "notes.txt", ".DS_Store", "p10/.cache/d.png")
    assert archive.unlisted() == ["notes.txt", "p10/c.png"]


def test_tables_in_the_images_folder_are_no_files_without_a_row(archive: Archive) -> None:
    archive.images = archive.folder
    archive.tables(ONE_REPORT, "1,images/a.png,Frontal\n1,images/b.png,Lateral\n")
    assert archive.unlisted() == []


def test_restricted_to_some_uids_a_source_says_nothing_of_files_without_a_row(archive: Archive) -> None:
    archive.files("c.png")
    assert archive.unlisted() == ["c.png"]
    assert archive.unlisted(uids={"1"}) == []


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


def test_a_missing_images_folder_is_named(archive: Archive) -> None:
    archive.images = archive.folder / "pictures"
    with pytest.raises(SourceError, match="pictures"):
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
