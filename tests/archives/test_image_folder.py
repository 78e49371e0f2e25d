from __future__ import annotations

import os
from pathlib import Path

import pytest

from archives.image_folder import ImageFolderSource
from retrieval.errors import SourceError
from retrieval.records import ImageRecord, Quarantined, Study


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch(tmp_path / "images", "b.png", "p1/lateral/a.JPG", "a/c_pa.webp", "a.jpeg")


def read(folder: Path) -> tuple[list[Study], list[tuple[str, str]]]:
    source = ImageFolderSource(folder, dataset="own")
    records = list(source)
    assert len(records) == source.image_count()
    return [r for r in records if isinstance(r, Study)], [
        (r.file, r.code) for r in records if isinstance(r, Quarantined)
    ]


def test_every_image_is_a_study_without_a_report_in_the_order_of_the_paths(folder: Path) -> None:
    studies, quarantined = read(folder)
    assert not quarantined
    assert studies == [
        Study("a.jpeg", "own", (ImageRecord("a.jpeg", folder / "a.jpeg"),)),
        Study("a/c_pa.webp", "own", (ImageRecord("a/c_pa.webp", folder / "a/c_pa.webp", "frontal"),)),
        Study("b.png", "own", (ImageRecord("b.png", folder / "b.png"),)),
        Study("p1/lateral/a.JPG", "own", (ImageRecord("p1/lateral/a.JPG", folder / "p1/lateral/a.JPG", "lateral"),)),
    ]


def test_files_of_one_name_and_two_types_are_two_studies(folder: Path) -> None:
    touch(folder, "b.jpg")
    assert [study.study_id for study in read(folder)[0]][2:4] == ["b.jpg", "b.png"]


def test_other_file_types_are_quarantined_and_hidden_files_ignored(folder: Path) -> None:
    touch(folder, "notes.txt", "a/scan", "a/scan.dcm", "b.png.part", ".DS_Store", ".thumbs/b.png", "a/._c.png")
    studies, quarantined = read(folder)
    assert len(studies) == 4
    assert quarantined == [(name, "wrong_type") for name in ("a/scan", "a/scan.dcm", "b.png.part", "notes.txt")]


def test_links_inside_are_followed_and_links_outside_or_to_nothing_are_quarantined(folder: Path) -> None:
    touch(folder.parent, "secret.png", "other/d.png")
    (folder / "in.png").symlink_to("b.png")
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "out").symlink_to(folder.parent / "other")
    (folder / "broken.png").symlink_to("gone.png")
    studies, quarantined = read(folder)
    assert [study.study_id for study in studies if study.study_id.startswith("in")] == ["in.png"]
    assert len(studies) == 5
    assert quarantined == [("broken.png", "missing_file"), ("out", "path_outside"), ("out.png", "path_outside")]


def test_circles_of_links_come_to_an_end(folder: Path) -> None:
    (folder / "p1" / "up").symlink_to(folder)
    (folder / "self.png").symlink_to("self.png")
    (folder / "ping").symlink_to("pong")
    (folder / "pong").symlink_to("ping")
    studies, quarantined = read(folder)
    assert len(studies) == 4
    assert quarantined == [(name, "missing_file") for name in ("ping", "pong", "self.png")]


def test_special_files_are_quarantined_without_being_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    assert read(folder)[1] == [("pipe.png", "missing_file")]


def test_a_name_that_is_not_utf_8_is_quarantined_under_a_printable_name(folder: Path) -> None:
    touch(folder, os.fsdecode(b"caf\xe9.png"))
    assert read(folder)[1] == [("caf\\xe9.png", "bad_name")]


def test_an_unreadable_folder_is_quarantined(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "p1":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    studies, quarantined = read(folder)
    assert len(studies) == 3
    assert quarantined == [("p1", "system_error")]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="pictures does not exist"):
        ImageFolderSource(tmp_path / "pictures", dataset="own")
