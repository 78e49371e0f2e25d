"""The thumbnail of a replaced image is removed, as soon as it is certain that no other image uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from archives.image_folder import ImageFolderSource
from ingest.worker import Worker
from retrieval.index.edge.index import META, EdgeIndex
from tests.ingest.worker_fixtures import CountingEncoder


def draw(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8)).save(path)


def test_an_old_thumbnail_stays_while_a_collection_cannot_be_read_and_goes_at_the_next_run(
    encoder: CountingEncoder, index: EdgeIndex, tmp_path: Path
) -> None:
    archive, media = tmp_path / "archive", tmp_path / "media"
    archive.mkdir()
    draw(archive / "a.png", 1)

    def thumbnails() -> int:
        Worker(encoder, index, home=tmp_path, media_dir=media).run(ImageFolderSource(archive, dataset="images"))
        return len(list(media.rglob("*.webp")))

    assert thumbnails() == 1
    damaged = index.folder / "cxr_other"
    damaged.mkdir()
    (damaged / META).touch()
    draw(archive / "a.png", 2)
    assert thumbnails() == 2
    shutil.rmtree(damaged)
    assert thumbnails() == 1
