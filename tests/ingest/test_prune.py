"""Prune removes images that are gone, and keeps images that are only unreachable today."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archives import file_tree
from archives.image_folder import ImageFolderSource
from archives.tables.source import TableSource
from ingest.prune import SHRINK_FROM, _first_at_or_above
from ingest.run_mode import RunMode
from ingest.summary import IngestSummary
from ingest.worker import Worker
from retrieval.errors import SourceError
from retrieval.index.edge.index import EdgeIndex
from tests.ingest.prunable_home import EACH, FULL, PrunableHome
from tests.ingest.worker_fixtures import NAME, CountingEncoder


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex) -> PrunableHome:
    return PrunableHome(tmp_path, encoder, index, getattr(request, "param", "images"))


walked = pytest.mark.parametrize("home", ["images", "dicom"], indirect=True)
every = pytest.mark.parametrize("home", ["images", "dicom", "table", "indiana"], indirect=True)


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int, after: int = 0) -> None:
    """Make the listing of `folder` fail with the error `number` after `after` entries."""
    scandir = os.scandir

    class Failing:
        def __init__(self) -> None:
            self._entries = scandir(folder)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self._entries.close()

        def __iter__(self):
            for place, entry in enumerate(self._entries):
                if place == after:
                    break
                yield entry
            raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(
        file_tree.os, "scandir", lambda path: Failing() if Path(path) == folder else scandir(path), raising=True
    )


def unlist(number: int, after: int = 0) -> Callable[[pytest.MonkeyPatch, PrunableHome], None]:
    return lambda monkeypatch, home: refuse(monkeypatch, home.archive / "b", number, after)


def link(monkeypatch: pytest.MonkeyPatch, home: PrunableHome) -> None:
    shutil.rmtree(home.archive / "b")
    (home.archive / "b").symlink_to(home.archive.parent / "not-mounted")


def link_out(monkeypatch: pytest.MonkeyPatch, home: PrunableHome) -> None:
    shutil.move(home.archive / "b", home.archive.parent / "elsewhere")
    (home.archive / "b").symlink_to(home.archive.parent / "elsewhere")


def link_in_a_circle(monkeypatch: pytest.MonkeyPatch, home: PrunableHome) -> None:
    shutil.rmtree(home.archive / "b")
    (home.archive / "b").symlink_to("b")


def unmount(monkeypatch: pytest.MonkeyPatch, home: PrunableHome) -> None:
    shutil.rmtree(home.archive / "b")
    (home.archive / "b").mkdir()
    (home.archive / "b" / ".not-mounted").touch()


AWAY = {
    "permission": unlist(errno.EACCES),
    "input-output-error": unlist(errno.EIO),
    "stale-handle-in-the-middle": unlist(errno.ESTALE, after=2),
    "dangling-link": link,
    "link-out": link_out,
    "circle": link_in_a_circle,
    "empty-mount-point": unmount,
}


@walked
@pytest.mark.parametrize("away", AWAY)
def test_images_below_an_unreadable_path_are_kept_and_reported(
    away: str, home: PrunableHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    AWAY[away](monkeypatch, home)
    for path in (home.archive / "d").iterdir():
        path.unlink()
    (home.archive / "d").rmdir()
    summary = home.prune()
    assert home.held() == FULL | {"d": 0}
    assert (summary.pruned, summary.kept) == (EACH, 2 * EACH if "middle" not in away else summary.kept)
    assert " images are no longer found in the source and are kept: " in summary.messages[0]
    assert {"b", "b;"} & set(summary.messages[0].replace(",", "").split())
    assert home.index.open(NAME).meta.counts == {"x": 3 * EACH}


@walked
def test_a_folder_that_was_emptied_is_pruned_when_that_is_confirmed(home: PrunableHome) -> None:
    for path in (home.archive / "b" / "c").iterdir():
        path.unlink()
    summary = home.prune()
    assert (summary.pruned, summary.kept, home.held()) == (0, EACH, FULL)
    assert "--allow-shrink" in summary.messages[0] and "b/c" in summary.messages[0]
    assert home.prune(allow_shrink=True).pruned == EACH
    assert home.held() == FULL | {"b/c": 0}


def test_allow_shrink_does_not_remove_unreadable_files(home: PrunableHome, monkeypatch: pytest.MonkeyPatch) -> None:
    link(monkeypatch, home)
    assert home.prune(allow_shrink=True).pruned == 0
    assert home.held() == FULL


@every
def test_an_empty_source_removes_nothing_and_is_an_error(home: PrunableHome) -> None:
    shutil.rmtree(home.archive)
    home.archive.mkdir()
    home.write_tables()
    before = home.held()
    for run in (home.prune, home.run, lambda: home.run(recreate=True)):
        with pytest.raises(SourceError, match="--prune --allow-shrink"):
            run()
    assert home.held() == before == FULL
    assert home.index.active() == NAME
    with home.ledger() as ledger:
        assert ledger.unfinished() == []


@every
def test_an_empty_source_empties_its_dataset_when_that_is_confirmed_and_the_collection_stays(
    home: PrunableHome,
) -> None:
    shutil.rmtree(home.archive)
    home.archive.mkdir()
    home.write_tables()
    assert home.prune(allow_shrink=True).pruned == 4 * EACH
    assert home.index.active() == NAME
    assert (home.index.open(NAME).meta.counts, home.index.open(NAME).meta.complete) == ({}, True)
    assert not list((home.archive.parent / "media").glob("??/*"))


@pytest.mark.parametrize("home", ["table", "indiana"], indirect=True)
@pytest.mark.parametrize("left", ["images", "nothing"])
def test_a_table_without_rows_or_without_its_images_removes_nothing(home: PrunableHome, left: str) -> None:
    if left == "images":  # no row names them
        for name in ("cases.csv", "projections.csv"):
            path = home.archive.parent / name
            path.write_text(path.read_text().splitlines()[0] + "\n")
    else:
        rows = (home.archive.parent / "cases.csv").read_text().splitlines()
        (home.archive.parent / "cases.csv").write_text("\n".join(rows[:-4]))
        rows = (home.archive.parent / "projections.csv").read_text().splitlines()
        (home.archive.parent / "projections.csv").write_text("\n".join(rows[:-4]))
        shutil.rmtree(home.archive)
        home.archive.mkdir()
    summary = home.prune()
    assert (summary.pruned, home.held(), home.index.active()) == (0, FULL, NAME)
    assert any("no image of the source could be read" in said for said in summary.messages)
    with pytest.raises(SourceError, match="not dropped"):
        home.run(recreate=True)
    assert home.held() == FULL


def test_a_source_of_bad_files_only_does_not_drop_the_active_collection(home: PrunableHome) -> None:
    for path in home.archive.rglob("*.png"):
        path.write_bytes(b"")
    assert home.prune().pruned == 0
    assert (home.held(), home.index.active()) == (FULL, NAME)


def test_a_first_ingest_of_bad_files_only_leaves_no_interrupted_run(
    tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_bytes(b"")
    worker = Worker(encoder, index, home=tmp_path)
    with pytest.raises(SourceError, match="none of 1 images"):
        worker.run(ImageFolderSource(tmp_path / "bad", dataset="bad"))
    assert index.collections() == {}
    Image.linear_gradient("L").resize((48, 40)).save(tmp_path / "bad" / "2.png")
    assert worker.run(ImageFolderSource(tmp_path / "bad", dataset="good")).unfinished == []


@walked
def test_without_its_ledger_nothing_is_removed_while_something_cannot_be_read(
    home: PrunableHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.ledger() as ledger:
        ledger.clear()
    shutil.rmtree(home.archive / "d")
    (home.archive / "broken").symlink_to("nothing")
    summary = home.prune()
    assert (summary.pruned, summary.kept) == (0, EACH)
    assert "the ledger here does not know" in summary.messages[0]
    (home.archive / "broken").unlink()
    assert home.prune().pruned == EACH


def test_pruning_more_than_half_of_many_images_needs_allow_shrink(
    tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(SHRINK_FROM + 20):
        Image.linear_gradient("L").resize((8, 8 + number)).save(folder / f"{number:03}.png")
    rows = [f"{number:03}.png" for number in range(SHRINK_FROM + 20)]
    table = tmp_path / "many.csv"

    def run(count: int, *, allow_shrink: bool = False) -> IngestSummary:
        table.write_text("\n".join(["image", *rows[:count]]) + "\n")
        source = TableSource(table, images_dir=folder, columns={}, dataset="many")
        worker = Worker(encoder, index, home=tmp_path)
        return worker.run(source, RunMode(prune=lambda gone, total: True, allow_shrink=allow_shrink))

    run(SHRINK_FROM + 20)
    cut = run(20)
    assert (cut.pruned, cut.kept) == (0, SHRINK_FROM)
    assert "more than half of the 120 images of many" in cut.messages[0]
    assert run(21).pruned == SHRINK_FROM - 1
    run(SHRINK_FROM + 20)
    assert run(20, allow_shrink=True).pruned == SHRINK_FROM


def test_thumbnails_go_with_the_last_image_that_has_them(home: PrunableHome) -> None:
    media = home.archive.parent / "media"
    shutil.copy(home.archive / "a" / "0.png", home.archive / "a" / "copy.png")
    home.run()
    assert len(list(media.glob("??/*.webp"))) == 4 * EACH
    (home.archive / "a" / "copy.png").unlink()
    (home.archive / "a" / "1.png").unlink()
    assert home.prune().pruned == 2
    assert len(list(media.glob("??/*.webp"))) == 4 * EACH - 1


def test_a_thumbnail_goes_when_a_changed_image_replaces_the_last_that_had_it(home: PrunableHome) -> None:
    media = home.archive.parent / "media"
    shutil.copy(home.archive / "a" / "0.png", home.archive / "a" / "copy.png")
    home.run()
    before = {path.stem for path in media.glob("??/*.webp")}
    for changed, other in (("0", "b/0"), ("copy", "b/1")):
        shutil.copy(home.archive / f"{other}.png", home.archive / "a" / f"{changed}.png")
        home.run()
    shown = {str(point.payload["image_sha256"]) for point in home.index.open(NAME).scroll(limit=None)}
    assert {path.stem for path in media.glob("??/*.webp")} == shown
    assert len(before - shown) == 1


@pytest.mark.parametrize("home", ["images", "dicom"], indirect=True)
@pytest.mark.parametrize("note", ["README.txt", "NOT_MOUNTED", "below/Thumbs.db"])
def test_a_folder_with_a_note_and_no_image_counts_as_empty(home: PrunableHome, note: str) -> None:
    shutil.rmtree(home.archive / "d")
    (home.archive / "d" / note).parent.mkdir(parents=True)
    (home.archive / "d" / note).write_text("nothing is mounted here")
    assert home.prune().pruned == 0
    assert home.held() == FULL


def test_rows_that_a_killed_prune_left_without_points_are_forgotten(home: PrunableHome) -> None:
    doomed = [point for point in home.index.open(NAME).scroll(limit=None) if point.payload["image_id"].startswith("d/")]
    home.index.open(NAME).delete([point.point_id for point in doomed])
    shutil.rmtree(home.archive / "d")
    assert home.prune().pruned == 0
    with home.ledger() as ledger:
        assert sorted({name.rpartition("/")[0] for _, name in ledger.image_ids()}) == ["a", "b", "b/c"]


segments = st.text(alphabet="ab.", min_size=1, max_size=2)
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)


@given(path=paths, entries=st.sets(paths, max_size=6))
def test_a_path_covers_itself_and_everything_below_it(path: str, entries: set[str]) -> None:
    parts = path.split("/")
    above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    assert (_first_at_or_above([path], entries) != "") == any(entry in entries for entry in above)
