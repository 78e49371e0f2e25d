"""Every test here runs on the embedded engine and on the server engine, which talks to a stand-in, and with the marker
`real` to real servers: one node, three nodes, and three nodes with four shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import pytest

from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import CollectionLayout, CollectionMeta, Payload
from retrieval.index.server.index import ServerIndex
from retrieval.records import point_id
from tests.recovery.qdrant_stand_in import QdrantStandIn

DIM = 24
FINDINGS = ("Cardiomegaly", "Pleural Effusion", "Nodule", "normal")
SIDES = ["left", "right", "bilateral"]
WORDS = ("heart", "effusion", "nodule", "clear", "lung", "opacity")
NAME = "cxr_congruence"
META = CollectionMeta(model="congruence", bundle_id="b1", dim=DIM, created_at="2026-01-01T00:00:00+00:00")


def unit_vectors(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_points(count: int = 150) -> list[IndexPoint]:
    """Points with every combination of labels, some without findings text, some without any report."""
    vectors = {name: unit_vectors(count, seed) for seed, name in enumerate(("image", "findings", "impression"))}
    rng = np.random.default_rng(9)
    points = []
    for n in range(count):
        present = [finding for finding in FINDINGS if rng.random() < 0.35]
        uncertain = [finding for finding in FINDINGS if finding not in present and rng.random() < 0.15]
        named = {"image": vectors["image"][n]}
        if n % 3:
            named["findings"] = vectors["findings"][n]
        if n % 7:
            named["impression"] = vectors["impression"][n]
        text = " ".join(rng.choice(WORDS, 1 + n % 5)) if n % 21 else ""
        payload = Payload(
            study_id=f"study-{n // 2}",
            image_id=f"image-{n}",
            dataset="even" if n % 4 < 2 else "odd",
            view=("frontal", "lateral", "unknown")[n % 3],
            present=present,
            uncertain=uncertain,
            absent=[finding for finding in FINDINGS if finding not in present + uncertain and n % 5 == 0],
            problems=present,
            mesh=[term for finding in present for term in (finding, f"{finding}/left")],
            qualified=[f"{finding}/{side}" for finding in present for side in SIDES[n % 4 : n % 4 + 1]],
            sides=SIDES[n % 4 : n % 4 + 1] if present else [],
            sites=["lung"] if present and n % 2 else [],
            severities=["mild"] if present and n % 5 < 2 else [],
            study_date=f"20{10 + n % 9}-0{1 + n % 9}-{10 + n % 18}" if n % 4 else "",
            findings="text" if n % 3 else "",
            impression="text" if n % 7 else "",
            indication="",
            comparison="",
            report_group="" if n % 21 == 0 else f"group-{n % 11}",
            image_sha256=f"{n:064x}",
            bundle_id="b1",
            ingested_at="2026-01-01T00:00:00+00:00",
        )
        points.append(IndexPoint(point_id("even", payload.image_id), named, text, payload))
    return points


@pytest.fixture(scope="session")
def points() -> list[IndexPoint]:
    return make_points()


class Server(Protocol):
    """A server that tests share."""

    url: str

    def collections(self) -> list[str]:
        """Names of all collections."""

    def drop_all(self) -> None:
        """Delete all collections, and with them their aliases."""


SERVERS = [
    "stand_in",
    pytest.param("node", marks=pytest.mark.real),
    pytest.param("cluster", marks=pytest.mark.real),
    pytest.param("cluster_of_4_shards", marks=pytest.mark.real),
]
LAYOUTS = {
    "cluster": CollectionLayout(replicas=2),
    "cluster_of_4_shards": CollectionLayout(shards=4, replicas=2),
}


@pytest.fixture(scope="session")
def stand_in() -> Iterator[QdrantStandIn]:
    with QdrantStandIn() as server:
        yield server


@contextmanager
def opened_server(request: pytest.FixtureRequest, kind: str) -> Iterator[Index]:
    """The empty index of a server, which is empty again afterwards."""
    name = {"stand_in": "stand_in", "node": "qdrant_node"}.get(kind, "qdrant_cluster")
    server: Server = request.getfixturevalue(name)
    assert server.collections() == []
    index = ServerIndex.connect(server.url, api_key=None, timeout_s=30)
    yield index
    index.close()
    server.drop_all()


@pytest.fixture(params=["edge", *SERVERS])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    kind: str = request.param
    return kind


@pytest.fixture
def meta(engine: str) -> CollectionMeta:
    """What a collection records that is made in the layout of the engine."""
    return msgspec.structs.replace(META, layout=LAYOUTS.get(engine, CollectionLayout()))


@pytest.fixture
def index(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """An empty index of each engine in turn."""
    if engine == "edge":
        opened = EdgeIndex(tmp_path / "index")
        yield opened
        opened.close()
    else:
        with opened_server(request, engine) as opened:
            yield opened


@pytest.fixture
def collection(index: Index, meta: CollectionMeta, points: list[IndexPoint]) -> Collection:
    """The points, loaded into each engine in turn."""
    return load(index, meta, points)


@pytest.fixture(scope="module", params=SERVERS)
def both(
    request: pytest.FixtureRequest, points: list[IndexPoint], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Collection]]:
    """The points in the embedded engine and on each server in turn, for comparing their answers."""
    edge = EdgeIndex(tmp_path_factory.mktemp("both"))
    with opened_server(request, request.param) as server:
        layout = LAYOUTS.get(request.param, CollectionLayout())
        yield {
            "edge": load(edge, META, points),
            "server": load(server, msgspec.structs.replace(META, layout=layout), points),
        }
    edge.close()


def load(index: Index, meta: CollectionMeta, points: list[IndexPoint]) -> Collection:
    made = index.create(meta, name=NAME, layout=meta.layout)
    made.upsert(points)
    made.optimize()
    return made
