"""Layouts of collections: their record, int8 copies of vectors, and when a graph is built."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from retrieval.errors import InvalidRequest
from retrieval.index.edge import shard as edge_shard
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import CollectionLayout, oversampling
from retrieval.index.search_request import OverlapSignal, SearchRequest, VectorSignal
from retrieval.records import point_id
from tests.congruence.conftest import META, NAME

WIDE = 256
ENOUGH = 2_100
"""Points of 256 dimensions that take up more than `INT8_FROM_KB`."""


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_a_layout_is_recorded_and_searched(index, meta, points, quantization):
    layout = msgspec.structs.replace(meta.layout, quantization=quantization)
    made = index.create(META, name=NAME, layout=layout)
    made.begin_load(len(points))
    made.upsert(points)
    made.optimize()
    made.optimize()
    assert index.collections()[NAME].layout == index.open(NAME).meta.layout == layout
    query = points[8].vectors["image"]
    hits = made.search(SearchRequest(signals=(VectorSignal("image", query, 1.0),), limit=10))
    assert hits[0].point_id == points[8].point_id
    assert hits[0].score == pytest.approx(1, abs=2e-3)
    assert made.count() == len(points)


@pytest.mark.parametrize("layout", [CollectionLayout(shards=2), CollectionLayout(replicas=2)])
def test_the_embedded_engine_refuses_shards_and_replicas_and_makes_nothing(tmp_path, layout):
    index = EdgeIndex(tmp_path)
    with pytest.raises(InvalidRequest, match="--index"):
        index.require_layout(layout)
    with pytest.raises(InvalidRequest, match="--index"):
        index.create(META, name=NAME, layout=layout)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def many(points) -> list[IndexPoint]:
    """Points with long, similar vectors, which 8 bits per number cannot order."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(ENOUGH):
        vectors = {name: near(rng) for name in ("image", "findings", "impression")[: 3 - number % 2]}
        payload = points[number % len(points)].payload
        payload = msgspec.structs.replace(payload, image_id=f"many-{number}", study_id=f"many-{number}")
        made.append(IndexPoint(point_id("even", payload.image_id), vectors, "", payload))
    return made


def near(rng: np.random.Generator) -> np.ndarray:
    vector = np.ones(WIDE) + 0.2 * rng.standard_normal(WIDE)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.fixture
def quantized(many, tmp_path):
    """The points in an embedded collection with int8 copies of the vectors."""
    index = EdgeIndex(tmp_path)
    made = index.create(msgspec.structs.replace(META, dim=WIDE), name=NAME)
    made.upsert(many)
    made.optimize()
    yield made
    index.close()


def cosine_in_half(vector: np.ndarray, query: np.ndarray) -> float:
    """The cosine that the engine computes: vector and query in half precision."""
    return float(vector.astype(np.float16).astype(np.float32) @ query.astype(np.float16).astype(np.float32))


def held(folder: Path, name: str) -> list[Path]:
    return sorted((folder / NAME / "shard" / "segments").glob(f"*/{name}"))


@pytest.mark.parametrize("view", [None, "frontal"])
@pytest.mark.parametrize("limit", [1, 10, 100])
def test_an_int8_collection_finds_the_same_and_scores_in_half_precision(quantized, many, tmp_path, view, limit):
    assert held(tmp_path, "vector_storage-image/quantized.data")
    for seed in range(5):
        query = near(np.random.default_rng(100 + seed))
        hits = quantized.search(
            SearchRequest(signals=(VectorSignal("image", query, 1.0),), filters=Filters(view=view), limit=limit)
        )
        seen = [point for point in many if view in (None, point.payload.view)]
        cosines = sorted((cosine_in_half(point.vectors["image"], query) for point in seen), reverse=True)
        assert [hit.score for hit in hits] == pytest.approx(cosines[:limit], abs=1e-5)


def test_the_signals_of_an_int8_collection_are_summed_in_half_precision(quantized, many):
    rng = np.random.default_rng(7)
    weights = {"image": 0.5, "findings": 0.3, "impression": 0.2}
    signals = tuple(VectorSignal(name, near(rng), weight, zero=0.9, one=1.0) for name, weight in weights.items())
    term = many[0].payload.mesh[0]
    request = SearchRequest(signals=signals, overlaps=(OverlapSignal("mesh", (term,), 0.1),), candidates=50)
    by_id = {point.point_id: point for point in many}
    hits = quantized.search(request)
    assert len(hits) == 10
    for hit in hits:
        point = by_id[hit.point_id]
        score = 0.1 * (term in point.payload.mesh)
        for signal in signals:
            if signal.name in point.vectors:
                cosine = cosine_in_half(point.vectors[signal.name], signal.query)
                assert hit.cosines[signal.name] == pytest.approx(cosine, abs=1e-5)
                score += signal.weight * (cosine - 0.9) / 0.1
        assert hit.score == pytest.approx(score, abs=1e-4)


def test_at_least_200_points_and_twice_the_limit_are_rescored():
    assert [limit * oversampling(limit) for limit in (1, 10, 100, 1000)] == [200, 200, 200, 2000]


def links(folder: Path) -> set[int]:
    """Links a point of the graphs of a collection; 0 where none was built."""
    return {json.loads(path.read_text())["m"] for path in held(folder, "vector_index-image/hnsw_config.json")}


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_a_collection_gets_a_graph_when_it_has_grown_and_loses_it_when_it_has_shrunk(
    many, tmp_path, monkeypatch, quantization
):
    monkeypatch.setattr(edge_shard, "EXACT_UP_TO_KB", 300)  # of half-precision vectors: 600 points
    index = EdgeIndex(tmp_path)
    layout = CollectionLayout(quantization=quantization)
    made = index.create(msgspec.structs.replace(META, dim=WIDE), name=NAME, layout=layout)
    made.upsert(many[:500])
    made.optimize()
    assert links(tmp_path) <= {0}
    index.close()
    made = EdgeIndex(tmp_path).open(NAME)  # as a later run finds it
    made.upsert(many[500:])
    made.optimize()
    assert 16 in links(tmp_path)
    assert made.count() == ENOUGH
    query = many[3].vectors["image"]
    found = made.search(SearchRequest(signals=(VectorSignal("image", query, 1.0),), limit=10))
    assert found[0].point_id == many[3].point_id
    made.delete([point.point_id for point in many[500:]])
    made.optimize()
    assert 16 not in links(tmp_path)
    assert made.count() == 500
    made.close()
