"""Every test here runs on Qdrant Edge, on qdrant-client's local mode and, if CXR_TEST_QDRANT_URL is set, on a server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import CollectionMeta, Payload
from retrieval.index.server.index import ServerIndex
from retrieval.records import point_id

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


def _engines() -> dict[str, Callable[[Path], Index]]:
    engines: dict[str, Callable[[Path], Index]] = {
        "edge": lambda folder: EdgeIndex(folder / "index"),
        "local": lambda _: ServerIndex(QdrantClient(":memory:"), "local mode"),
    }
    if url := os.environ.get("CXR_TEST_QDRANT_URL"):
        key = os.environ.get("CXR_INDEX_API_KEY")
        engines["server"] = lambda _: ServerIndex.connect(url, api_key=key, timeout_s=30)
    return engines


@pytest.fixture(params=sorted(_engines()))
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    """An empty index of each engine in turn."""
    opened = _engines()[request.param](tmp_path)
    yield opened
    if NAME in opened.collections():
        opened.drop(NAME)
    opened.close()


@pytest.fixture
def collection(index: Index, points: list[IndexPoint]) -> Collection:
    """The points, loaded into each engine in turn."""
    made = index.create(META, name=NAME)
    made.upsert(points)
    made.optimize()
    return made


@pytest.fixture(scope="session")
def both(points: list[IndexPoint], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Collection]]:
    """The points in all engines at once, for comparing their answers."""
    indexes = {name: make(tmp_path_factory.mktemp(uuid.uuid4().hex)) for name, make in _engines().items()}
    collections = {name: opened.create(META, name=f"{NAME}_both") for name, opened in indexes.items()}
    for made in collections.values():
        made.upsert(points)
        made.optimize()
    yield collections
    for opened in indexes.values():
        opened.drop(f"{NAME}_both")
        opened.close()
