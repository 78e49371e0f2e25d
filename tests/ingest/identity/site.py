"""A machine with a home, and an index that several machines may share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from archives.source_spec import SourceSpec
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.summary import IngestSummary
from ingest.worker import Worker
from retrieval.errors import SourceDiffers
from retrieval.index.interface import Index
from retrieval.index.schema import CollectionMeta
from retrieval.progress import StageProgress
from tests.conftest import write_tiny_bundle
from tests.dicom_files import make_dicom
from tests.ingest.worker_fixtures import NAME, CountingEncoder

COUNT = 5


def draw(folder: Path, seed: int, prefix: str = "") -> Path:
    """A folder of images and a table of reports beside it; file names do not depend on the seed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 255, (40, 48), dtype=np.uint8)).save(folder / f"{prefix}{number}.png")
    rows = [f"{prefix}{number}.png,{number},Report {seed}." for number in range(COUNT)]
    folder.with_suffix(".csv").write_text("\n".join(["image,study_id,findings", *rows]))
    return folder


def radiographs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(COUNT):
        pixels = np.full((40, 48), 100 * number, dtype=np.uint16)
        pixels[:20] += 1000
        uids = {"SOPInstanceUID": f"1.2.{number}", "StudyInstanceUID": f"1.3.{number}"}
        (folder / f"{number}.dcm").write_bytes(make_dicom(pixels, **uids))
    return folder


class Site:
    """A machine with a separate home, and an index that other machines may share."""

    def __init__(self, home: Path, index: Index, model: str = "tiny") -> None:
        self.home = home
        self.index = index
        bundle = write_tiny_bundle(home / "models", model, seed=0)
        self._worker = Worker(CountingEncoder(bundle), index, home=home, batch_size=2)

    def ingest(
        self,
        *,
        dataset: str | None = None,
        prune: bool = False,
        moved: bool = False,
        progress: StageProgress | None = None,
        **options: Any,
    ) -> IngestSummary:
        paths = {name: options.pop(name) for name in list(options) if isinstance(options[name], Path)}
        spec = SourceSpec.from_options(dataset=dataset, **paths)
        mode = RunMode(prune=(lambda gone, total: True) if prune else None, **options)
        return self._worker.run(spec.open(self.home), mode, spec=spec, moved=moved, progress=progress)

    def held(self) -> list[tuple[str, str, str]]:
        points = self.index.open(NAME).scroll(limit=None)
        keys = ("image_id", "image_sha256", "findings")
        return sorted(tuple(str(point.payload[key]) for key in keys) for point in points)  # type: ignore[misc]

    def meta(self, name: str = NAME) -> CollectionMeta:
        return self.index.collections()[name]

    def age(self) -> None:
        """Make the collection look as an earlier version left it."""
        collection = self.index.open(NAME)
        collection.record(msgspec.structs.replace(collection.meta, sources={}, salt=""))

    def forget(self) -> None:
        with Ledger(ledger_path(self.home, self.index.location, NAME)) as ledger:
            ledger.clear()


def refused(site: Site, *words: str, **options: Any) -> None:
    before, meta = site.held(), site.meta()
    with pytest.raises(SourceDiffers) as caught:
        site.ingest(**options)
    for word in (*words, "--dataset NAME", "--moved"):
        assert word in str(caught.value)
    assert (site.held(), site.meta()) == (before, meta)
