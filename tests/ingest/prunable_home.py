"""An archive in one of four layouts, with a collection that is pruned without asking."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from archives.dicom.folder import DicomFolderSource
from archives.image_folder import ImageFolderSource
from archives.indiana import IndianaSource
from archives.tables.source import TableSource
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.summary import IngestSummary
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.records import Source
from tests.dicom_files import make_dicom
from tests.ingest.worker_fixtures import NAME, CountingEncoder

FOLDERS = ("a", "b", "b/c", "d")
EACH = 3


class PrunableHome:
    """A collection that is pruned without asking, and its archive."""

    def __init__(self, folder: Path, encoder: CountingEncoder, index: EdgeIndex, kind: str) -> None:
        self.archive = folder / "archive"
        self.index = index
        self._folder = folder
        self._kind = kind
        self._worker = Worker(encoder, index, home=folder, media_dir=folder / "media", batch_size=16)
        rng = np.random.default_rng(0)
        for number, path in enumerate(f"{sub}/{n}" for sub in FOLDERS for n in range(EACH)):
            target = self.archive / f"{path}.{'dcm' if kind == 'dicom' else 'png'}"
            target.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 4000, (40, 48), dtype=np.uint16)
            if kind == "dicom":
                target.write_bytes(make_dicom(pixels, SOPInstanceUID=f"1.2.{number}", StudyInstanceUID=f"1.3.{number}"))
            else:
                Image.fromarray((pixels // 16).astype(np.uint8)).save(target)
        self.write_tables()
        self.run()
        assert self.held() == FULL

    def write_tables(self) -> None:
        names = sorted(str(path.relative_to(self.archive)) for path in self.archive.rglob("*.png"))
        (self._folder / "cases.csv").write_text("\n".join(["image,findings", *(f"{name},Clear." for name in names)]))
        rows = "".join(f"{name},{name},frontal\n" for name in names)
        (self._folder / "projections.csv").write_text("uid,filename,projection\n" + rows)
        (self._folder / "reports.csv").write_text("uid,MeSH,Problems,indication,comparison,findings,impression\n")

    def source(self) -> Source:
        match self._kind:
            case "dicom":
                return DicomFolderSource(self.archive, dataset="x", salt=b"s" * 32)
            case "table":
                return TableSource(self._folder / "cases.csv", images_dir=self.archive, columns={}, dataset="x")
            case "indiana":
                tables = (self._folder / "reports.csv", self._folder / "projections.csv")
                return IndianaSource(*tables, self.archive, dataset="x")
            case _:
                return ImageFolderSource(self.archive, dataset="x")

    def run(self, *, recreate: bool = False) -> IngestSummary:
        return self._worker.run(self.source(), RunMode(recreate=recreate))

    def prune(self, *, allow_shrink: bool = False) -> IngestSummary:
        return self._worker.run(self.source(), RunMode(prune=lambda gone, total: True, allow_shrink=allow_shrink))

    def held(self) -> dict[str, int]:
        """Number of images in the index by the folder of their files in the ledger."""
        with self.ledger() as ledger:
            ids = [str(point.payload["image_id"]) for point in self.index.open(NAME).scroll(limit=None)]
            names = [name for image_id in ids for name in ledger.names("x", [image_id]).get(image_id, {image_id})]
        return {folder: sum(os.path.dirname(name) == folder for name in names) for folder in FOLDERS}

    def ledger(self) -> Ledger:
        return Ledger(ledger_path(self._folder, self.index.location, NAME))


FULL = dict.fromkeys(FOLDERS, EACH)
