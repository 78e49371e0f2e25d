"""Image files of the Indiana collection: missing, outside the folder, shared, without a row."""

from __future__ import annotations

import pytest

from retrieval.errors import SourceError
from tests.archives.indiana_archive import ONE_REPORT, Archive


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


def test_a_missing_images_folder_is_named(archive: Archive) -> None:
    archive.images = archive.folder / "pictures"
    with pytest.raises(SourceError, match="pictures"):
        archive.source()
