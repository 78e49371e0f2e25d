"""A collection of an earlier version with other pixel rules is brought up to date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from archives.image_folder import ImageFolderSource
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.thumbnails import thumbnail_path
from ingest.worker import Worker
from retrieval.imaging.decode import PIXEL_RULES
from retrieval.index.edge.index import EdgeIndex
from tests.ingest.worker_fixtures import NAME, CountingEncoder

GREY = np.tile(np.arange(64, dtype=np.uint16), (64, 1))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An 8-bit image, and a 16-bit image that uses part of its range; earlier versions showed it black."""
    folder = tmp_path / "archive"
    folder.mkdir()
    Image.fromarray((GREY * 4).astype(np.uint8)).save(folder / "plain.png")
    Image.fromarray(GREY * 20).save(folder / "narrow.png")
    return folder


@pytest.fixture
def worker(encoder: CountingEncoder, index: EdgeIndex, tmp_path: Path) -> Worker:
    return Worker(encoder, index, home=tmp_path, media_dir=tmp_path / "media")


def age(index: EdgeIndex, home: Path) -> Path:
    """Make the collection look as an earlier version left it; gives the thumbnail of the image that was black."""
    collection = index.open(NAME)
    collection.record(msgspec.structs.replace(collection.meta, pixel_rules={}))
    with Ledger(ledger_path(home, index.location, NAME)) as ledger:
        row = ledger.rows("images", ["narrow.png"])["narrow.png"]
        assert row.notes
        run = ledger.begin("images", "", None, "2025-01-01T00:00:00+00:00")
        ledger.record(run, "images", [replace(row, notes=())])
        ledger.end(run, "2025-01-01T00:00:01+00:00", {})
    thumbnail = thumbnail_path(home / "media", row.sha256)
    Image.new("L", (64, 64)).save(thumbnail, "WEBP")
    return thumbnail


def test_only_images_that_look_different_are_encoded_again(
    worker: Worker, encoder: CountingEncoder, index: EdgeIndex, archive: Path, tmp_path: Path
) -> None:
    worker.run(ImageFolderSource(archive, dataset="images"))
    assert index.open(NAME).meta.pixel_rules == {"images": PIXEL_RULES}
    thumbnail = age(index, tmp_path)
    summary = worker.run(ImageFolderSource(archive, dataset="images"))
    assert encoder.image_batches == [1]
    assert (summary.indexed, summary.unchanged) == (1, 1)
    assert any("pixel rules" in message for message in summary.messages)
    with Image.open(thumbnail) as shown:
        assert np.ptp(np.asarray(shown.convert("L"))) > 200

    summary = worker.run(ImageFolderSource(archive, dataset="images"))
    assert encoder.image_batches == []
    assert not any("pixel rules" in message for message in summary.messages)


def test_without_a_ledger_every_image_is_embedded_again(
    worker: Worker, encoder: CountingEncoder, index: EdgeIndex, archive: Path, tmp_path: Path
) -> None:
    worker.run(ImageFolderSource(archive, dataset="images"))
    age(index, tmp_path)
    ledger_path(tmp_path, index.location, NAME).unlink()
    worker.run(ImageFolderSource(archive, dataset="images"))
    assert encoder.image_batches == [2]


def test_a_retry_does_not_speak_for_the_files_that_it_did_not_read(
    worker: Worker, index: EdgeIndex, archive: Path, tmp_path: Path
) -> None:
    worker.run(ImageFolderSource(archive, dataset="images"))
    age(index, tmp_path)
    worker.run(ImageFolderSource(archive, dataset="images"), RunMode(retry=frozenset({"narrow.png"})))
    assert index.open(NAME).meta.pixel_rules == {}


def test_a_run_that_resumes_decodes_nothing_again(
    worker: Worker, index: EdgeIndex, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ingest.ledger.Ledger.forget_older", fail)
        worker.run(ImageFolderSource(archive, dataset="images"))
    assert not index.open(NAME).meta.complete
    monkeypatch.setattr("ingest.image_reader.decoders.prepare", fail)
    summary = worker.run(ImageFolderSource(archive, dataset="images"))
    assert (summary.unchanged, summary.messages) == (2, [])
    assert index.open(NAME).meta.complete
