"""Shared by the tests of the worker: an encoder that counts, recorded progress, and the contents of a collection."""

from __future__ import annotations

import csv
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.index.interface import Index
from retrieval.index.schema import DENSE_VECTORS
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.progress import NoProgress

NAME = "cxr_tiny"


class CountingEncoder(Encoder):
    """Records the batches and texts that it encodes after its warm-up, and how many pixel arrays exist at once."""

    def __init__(self, bundle: ModelBundle) -> None:
        super().__init__(bundle, device="cpu", threads=1)
        self.image_batches: list[int] = []
        self.texts: list[str] = []
        self.most_alive = 0
        self._alive: weakref.WeakSet[Any] = weakref.WeakSet()
        normalize = self.preprocess.normalize

        def normalize_tracked(square: Image.Image) -> NDArray[np.float32]:
            pixels = normalize(square).view(_Tracked)
            self._alive.add(pixels)
            return pixels

        self.preprocess.normalize = normalize_tracked  # type: ignore[method-assign]

    @property
    def alive(self) -> int:
        """Pixel arrays that are still referenced."""
        return len(self._alive)

    def warm_up(self) -> None:
        self.preprocess, counting = Encoder(self.bundle, device="cpu").preprocess, self.preprocess
        super().warm_up()
        self.preprocess = counting
        self.image_batches, self.texts = [], []

    def encode_pixels(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        self.image_batches.append(len(pixel_values))
        self.most_alive = max(self.most_alive, self.alive)
        return super().encode_pixels(pixel_values)

    def encode_texts(self, texts: Iterable[str]) -> NDArray[np.float32]:
        texts = list(texts)
        self.texts += texts
        return super().encode_texts(texts)


class _Tracked(np.ndarray):
    """An array that hashes by identity, as a weak set needs."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return self is other


class CallOnProgress(NoProgress):
    """Calls a function with each count, for example to interrupt a run."""

    def __init__(self, function: Callable[[int, int], object]) -> None:
        self._function = function

    def __call__(self, done: int, total: int) -> None:
        self._function(done, total)


class RecordedProgress(NoProgress):
    """Records the stages, each with its unit and counts."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str, list[tuple[int, int]]]] = []

    def stage(self, title: str, unit: str = "") -> None:
        self.stages.append((title, unit, []))

    def __call__(self, done: int, total: int) -> None:
        self.stages[-1][2].append((done, total))

    @property
    def titles(self) -> list[str]:
        return [title for title, _, _ in self.stages]

    def counts(self, title: str) -> list[tuple[int, int]]:
        return next(counts for name, _, counts in self.stages if name == title)


def contents(index: Index) -> dict[str, tuple[dict[str, Any], dict[str, bytes]]]:
    """Payload without the time of ingest, and the bytes of each vector, by image id."""
    stored = index.open(NAME).scroll(limit=None, vectors=DENSE_VECTORS)
    return {
        point.payload["image_id"]: (
            {key: value for key, value in point.payload.items() if key != "ingested_at"},
            {name: vector.tobytes() for name, vector in point.vectors.items()},
        )
        for point in stored
    }


def edit_rows(path: Path, change: Callable[[list[str]], list[str] | None]) -> None:
    """Apply `change` to the rows of a CSV file below its header; a row that becomes None is removed."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in map(change, rows) if row is not None)])


def replace_in_reports(archive: dict[str, Path], old: str, new: str) -> None:
    """Replace a text in the reports table."""
    reports = archive["reports_csv"]
    text = reports.read_text()
    assert old in text
    reports.write_text(text.replace(old, new))
