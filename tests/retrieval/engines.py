"""Indexes of both engines, and a collection to copy between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
from qdrant_client import QdrantClient

from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import DENSE_VECTORS, Scale
from retrieval.index.server.index import ServerIndex
from tests.congruence.conftest import META, NAME, make_points

COUNT = 450
WHOLE = msgspec.structs.replace(
    META, calibration={"image/image": Scale(0.1, 0.8)}, counts={"even": 226, "odd": 224}, complete=True
)


def new_index(engine: str, folder: Path) -> Index:
    """An empty index of the engine `edge` or `local`."""
    return EdgeIndex(folder) if engine == "edge" else ServerIndex(QdrantClient(":memory:"), f"local mode {folder}")


def points_of_reports() -> list[IndexPoint]:
    """Points with the BM25 text of their payload, as the worker writes them."""
    return [replace(point, text=point.payload.report_text) for point in make_points(COUNT)]


def load(index: Index, points: list[IndexPoint]) -> Collection:
    """The points in a complete collection."""
    made = index.create(META, name=NAME)
    made.upsert(points)
    made.record(WHOLE)
    return made


def contents(collection: Collection) -> dict[str, tuple[dict, dict]]:
    """Payload and vectors of every point, by id."""
    return {s.point_id: (s.payload, s.vectors) for s in collection.scroll(limit=None, vectors=DENSE_VECTORS)}
