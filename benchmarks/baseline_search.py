"""A typical script that searches a collection, for comparison: FAISS, sqlite for the metadata, rerank in a Python loop.

As in such scripts it takes the 100 nearest of a flat index, reads their rows from sqlite, computes the five signals from
stored text vectors and returns the ten best. A filter is applied after the search, so fewer than ten may be left.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.index.interface import IndexPoint
from retrieval.search.rerank import WEIGHTS

Row = tuple[Any, ...]
_COLUMNS = ("study", "image", "view", "present", "uncertain", "mesh", "problems", "findings", "impression")
TEXTS = ("findings", "impression")
_INDEX, _DATABASE = "image.faiss", "metadata.sqlite"


class BaselineSearch:
    """The files of `write_baseline_search` in `folder`: image and text vectors in memory, metadata on disk."""

    def __init__(self, folder: Path) -> None:
        self.index = faiss.read_index(str(folder / _INDEX))
        self.texts = {name: np.load(folder / f"{name}.npy") for name in TEXTS}
        self.database = sqlite3.connect(folder / _DATABASE)

    def search(
        self,
        vectors: dict[str, NDArray[np.float32]],
        terms: Mapping[str, Sequence[str]],
        keeps: Callable[[Row], bool],
        k: int = 10,
    ) -> list[tuple[float, Row]]:
        """The `k` best of the 100 nearest to `vectors` (float32 [D] by name) for which `keeps` is true."""
        scores, numbers = self.index.search(vectors["image"][None], 100)
        marks = ",".join("?" * len(numbers[0]))
        rows = self.database.execute(f"SELECT * FROM images WHERE row IN ({marks})", numbers[0].tolist())
        by_number = {row[0]: row for row in rows}
        found = []
        for score, number in zip(scores[0].tolist(), numbers[0].tolist(), strict=True):
            row = by_number[number]
            if not keeps(row):
                continue
            total = WEIGHTS["image"] * score
            for name in TEXTS:
                if name in vectors:
                    total += WEIGHTS[name] * float(self.texts[name][number] @ vectors[name])
            for column, name in ((6, "mesh"), (7, "problems")):
                if terms[name]:
                    held = set(json.loads(row[column]))
                    total += WEIGHTS[name] * sum(term in held for term in terms[name]) / len(terms[name])
            found.append((total, row))
        found.sort(key=lambda hit: -hit[0])
        return found[:k]


def write_baseline_search(folder: Path, points: Sequence[IndexPoint]) -> None:
    """Write the files of a script that searches `points`."""
    dim = len(points[0].vectors["image"])
    index = faiss.IndexFlatIP(dim)
    index.add(np.stack([point.vectors["image"] for point in points]).astype(np.float32))
    faiss.write_index(index, str(folder / _INDEX))
    for name in TEXTS:
        np.save(folder / f"{name}.npy", _stack(points, name, dim))
    with closing(sqlite3.connect(folder / _DATABASE)) as database, database:
        database.execute(f"CREATE TABLE images (row INTEGER PRIMARY KEY, {', '.join(_COLUMNS)})")
        database.executemany(
            f"INSERT INTO images VALUES ({', '.join('?' * (1 + len(_COLUMNS)))})",
            [(number, *_row(point)) for number, point in enumerate(points)],
        )


def frontal_without_pneumothorax(row: Row) -> bool:
    """Whether a row matches the filter of `benchmarks.search`."""
    return row[3] == "frontal" and "Pneumothorax" not in (*json.loads(row[4]), *json.loads(row[5]))


def _stack(points: Sequence[IndexPoint], name: str, dim: int) -> NDArray[np.float32]:
    absent = np.zeros(dim, dtype=np.float32)
    return np.stack([point.vectors.get(name, absent) for point in points]).astype(np.float32)


def _row(point: IndexPoint) -> Row:
    payload = point.payload
    lists = (payload.present, payload.uncertain, payload.mesh, payload.problems)
    return (
        payload.study_id,
        payload.image_id,
        payload.view,
        *(json.dumps(values) for values in lists),
        payload.findings,
        payload.impression,
    )
