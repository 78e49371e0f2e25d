"""A real server, killed or stopped while it builds search graphs: in the end all graphs exist."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from retrieval.errors import IndexUnreachable
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import DENSE_VECTORS, CollectionLayout
from retrieval.index.server import optimizer
from retrieval.index.server.index import ServerIndex
from tests.congruence.conftest import META, NAME, make_points
from tests.qdrant.node import QdrantNode
from tests.qdrant.servers import running_node
from tests.recovery.strikes import random_strike
from tests.repetitions import repetitions

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SEED = int(os.environ.get("CXR_TEST_KILL_SEED", "41"))
MOMENTS = repetitions(4, 20)
DIM = 64
IMAGES = 3_000
PAGE = 500


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantNode]:
    with running_node(tmp_path_factory.mktemp("optimize") / "node") as running:
        yield running


@pytest.fixture
def small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs from 100 kB on instead of 64 MB."""
    for name in ("EXACT_UP_TO_KB", "EXACT_FILTERED_UP_TO_KB", "INT8_FROM_KB"):
        monkeypatch.setattr(optimizer, name, 100)


def many_points() -> Iterator[list[IndexPoint]]:
    rng = np.random.default_rng(3)
    payloads = [point.payload for point in make_points(150)]
    for start in range(0, IMAGES, PAGE):
        page = []
        for number in range(start, start + PAGE):
            vectors = {name: rng.standard_normal(DIM).astype(np.float32) for name in DENSE_VECTORS}
            payload = msgspec.structs.replace(payloads[number % 150], image_id=f"many-{number}")
            page.append(IndexPoint(f"00000000-0000-0000-0000-{number:012d}", vectors, "", payload))
        yield page


def test_an_optimisation_whose_server_is_killed_or_stopped_ends_with_all_graphs(node, small_graphs, capsys):
    index = ServerIndex.connect(node.url, api_key=None, timeout_s=30)
    made = index.create(msgspec.structs.replace(META, dim=DIM), name=NAME, layout=CollectionLayout())
    made.begin_load(IMAGES)
    for page in many_points():
        made.upsert(page)
    started = time.monotonic()
    made.optimize()
    took_s = time.monotonic() - started
    assert missing_graphs(node) == 0
    rng = random.Random(f"{SEED} optimize")
    moments = given_up = 0
    for _ in range(3 * MOMENTS):
        forget_graphs(node)
        is_long = rng.random() < 0.3
        strike = random_strike(rng, took_s, is_long=is_long)
        where = (SEED, strike)
        failures = strike.during(node, lambda: optimize(node, patience_s=1 if is_long else 60))  # noqa: B023
        if failures is None:
            continue
        moments += 1
        if is_long:
            strike.undo(node)
        if failures:
            given_up += 1
            assert is_long, (where, failures)
            assert node.url in failures[0] and "\n" not in failures[0], (where, failures)
            assert optimize(node, patience_s=60) == [], where
        assert missing_graphs(node) == 0, where
        assert node.result("GET", f"/collections/{NAME}")["status"] == "green", where
        if moments == MOMENTS:
            break
    assert moments == MOMENTS
    index.close()
    with capsys.disabled():
        print(f"\noptimise: {moments} strikes, given up {given_up} times, seed {SEED}", end=" ")


def optimize(node: QdrantNode, *, patience_s: float) -> list[str]:
    """Messages of the error, if there was one."""
    index = None
    try:
        index = ServerIndex.connect(node.url, api_key=None, timeout_s=3, patience_s=patience_s)
        index.open(NAME).optimize()
    except IndexUnreachable as error:
        return [str(error)]
    finally:
        if index:
            index.close()
    return []


def forget_graphs(node: QdrantNode) -> None:
    """Let the server rewrite its segments without graphs."""
    node.result(
        "PATCH",
        f"/collections/{NAME}",
        {"hnsw_config": {"m": 0}, "optimizers_config": {"indexing_threshold": 0}},
    )
    node.wait_until(lambda: missing_graphs(node) > 0 and is_green(node), "keeps its graphs")


def is_green(node: QdrantNode) -> bool:
    return bool(node.result("GET", f"/collections/{NAME}")["status"] == "green")


def missing_graphs(node: QdrantNode) -> int:
    """Number of image vectors without a graph, as the server's telemetry counts them."""
    found: list[dict[str, Any]] = node.result("GET", "/telemetry?details_level=4")["collections"]["collections"]
    (shards,) = (each["shards"] for each in found if each["id"] == NAME)
    counts = [segment["info"]["vector_data"]["image"] for shard in shards for segment in shard["local"]["segments"]]
    return sum(each["num_vectors"] - each["num_indexed_vectors"] for each in counts)
