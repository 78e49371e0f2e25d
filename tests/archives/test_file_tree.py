from __future__ import annotations

import os
from pathlib import Path

import pytest

from archives.file_tree import FileTree
from retrieval.errors import MissingFile, PathOutside, RetrievalError, SourceError, SystemFailure

NAMES = ("a.png", "p1/b.png", "p1/s1/c.png", ".hidden.png", "p1/.cache/d.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    for name in NAMES:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    (tmp_path / "secret.png").touch()
    return images


def locate_slowly(folder: Path, name: str) -> str:
    """The expected result of `locate`, by asking the system for each name."""
    try:
        path = (folder.resolve() / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return "path_outside"
        return str(path) if path.is_file() else "missing_file"
    except (OSError, ValueError, RuntimeError):
        return "missing_file"


@pytest.mark.parametrize(
    "name",
    [
        *NAMES,
        "", ".", "/", "..", "p1", "p1/", "p1/s1", "p1//b.png", "./a.png", "p1/../a.png", "p1/s1/../../a.png",
        "p1/s1/../../../secret.png", "../secret.png", "../images/a.png", "/etc/passwd", "gone.png", "gone/a.png",
        "a.png/b.png", "in.png", "out.png", "in/c.png", "out/secret.png", "circle", "circle/a.png", "n" * 5000,
        "d/" * 2000 + "a.png", "p1/" * 2000 + "a.png", "nul\0.png", "{folder}/p1/b.png", "{folder}/../secret.png",
        "{folder}//etc/passwd",
    ],
)  # fmt: skip
def test_each_name_is_located_as_the_system_resolves_it(folder: Path, name: str) -> None:
    (folder / "in.png").symlink_to("p1/b.png")
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "in").symlink_to("p1/s1")
    (folder / "out").symlink_to(folder.parent)
    (folder / "circle").symlink_to("circle")
    name = name.replace("{folder}", str(folder))
    try:
        found = str(FileTree(folder).locate(name).resolve())
    except RetrievalError as error:
        found = error.code
    assert found == locate_slowly(folder, name)


def test_a_relative_folder_gives_paths_under_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    images = FileTree(Path("images"))
    assert images.locate("p1/b.png") == Path("images/p1/b.png")
    assert images.locate(str(folder / "a.png")) == Path("images/a.png")


def test_each_folder_is_listed_once_and_no_single_file_is_checked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (folder / f"p1/{number}.png").touch()
    asked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: asked.append(Path(path).name) or scandir(path))
    images = FileTree(folder)
    monkeypatch.setattr(Path, "resolve", None)
    for number in range(50):
        images.locate(f"p1/{number}.png")
    assert asked == ["images", "p1"]


def test_all_files_are_named_sorted_and_hidden_ones_left_out(folder: Path) -> None:
    (folder / "z").symlink_to("p1")
    (folder / "p1" / "circle").symlink_to(folder)
    images = FileTree(folder)
    images.locate("p1/s1/c.png")
    assert images.names() == ["a.png", "p1/b.png", "p1/circle", "p1/s1/c.png", "z"]
    assert [name for name in images.names() if images.links_to_folder(name)] == ["p1/circle", "z"]


def test_unlisted_files_are_reported_however_the_other_files_are_named(folder: Path) -> None:
    for name in ("p1/e.png", "p1/f.png", "g.png"):
        (folder / name).touch()
    (folder / "link.png").symlink_to("p1/f.png")
    (folder / "circle").symlink_to(folder)
    named = ["./a.png", "p1/../p1/b.png", str(folder / "p1/s1/c.png"), "link.png", "gone.png", "../secret.png"]
    found = FileTree(folder).unlisted(named)
    assert [(item.file, item.code) for item in found] == [("g.png", "unlisted_file"), ("p1/e.png", "unlisted_file")]


def test_an_unlisted_name_that_is_not_utf_8_is_reported_under_a_printable_name(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.png")).touch()
    found = [item.file for item in FileTree(folder).unlisted(["a.png", "p1/b.png", "p1/s1/c.png"])]
    assert found == ["caf\\xe9.png"]


def test_a_folder_that_cannot_be_listed_is_remembered_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "s1":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    images = FileTree(folder)
    assert images.names() == ["a.png", "p1/b.png"]
    assert "Permission denied" in str(images.unreadable["p1/s1"])
    assert images.locate("p1/s1/c.png").name == "c.png"  # it may still be opened by name

    monkeypatch.setattr(Path, "is_file", lambda self: refuse(Path("s1")))
    with pytest.raises(SystemFailure, match="Permission denied"):
        images.locate("p1/s1/other.png")


def test_messages_name_the_file_and_the_way_out(folder: Path) -> None:
    images = FileTree(folder)
    with pytest.raises(PathOutside, match=r"secret\.png.*--images-dir that contains"):
        images.locate("../secret.png")
    with pytest.raises(MissingFile, match=r"no file 'gone\.png' in .*images"):
        images.locate("gone.png")


@pytest.mark.parametrize("name", ["gone", "images/a.png"])
def test_a_missing_folder_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        FileTree(folder.parent / name)
