"""Indexes of both engines, and a collection to copy between them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import msgspec

from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import DENSE_VECTORS, Scale
from retrieval.index.server.index import ServerIndex
from tests.congruence.conftest import META, NAME, make_points
from tests.recovery.qdrant_stand_in import QdrantStandIn

COUNT = 450
WHOLE = msgspec.structs.replace(
    META, calibration={"image/image": Scale(0.1, 0.8)}, counts={"even": 226, "odd": 224}, complete=True
)


def new_index(engine: str, folder: Path) -> Index:
    """An empty index: an embedded one in `folder`, or one on a `server` of its own, which ends when the index is closed."""
    return EdgeIndex(folder) if engine == "edge" else _index_on_a_server()


def _index_on_a_server() -> Index:
    with ExitStack() as stack:
        server = stack.enter_context(QdrantStandIn())
        index = ServerIndex.connect(server.url, api_key=None, timeout_s=30)
        stack.callback(index.close)
        index.close = stack.pop_all().close  # type: ignore[method-assign]
    return index


def points_of_reports(count: int = COUNT) -> list[IndexPoint]:
    """Points with the BM25 text of their payload, as the worker writes them."""
    return [replace(point, text=point.payload.report_text) for point in make_points(count)]


def load(index: Index, points: list[IndexPoint]) -> Collection:
    """The points in a complete collection."""
    made = index.create(META, name=NAME)
    made.upsert(points)
    made.record(WHOLE)
    return made


def contents(collection: Collection) -> dict[str, tuple[dict, dict]]:
    """Payload and vectors of every point, by id."""
    return {s.point_id: (s.payload, s.vectors) for s in collection.scroll(limit=None, vectors=DENSE_VECTORS)}
