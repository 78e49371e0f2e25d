"""A load of a real server: segments while it lasts, one merge at its end, graphs on every replica, also after a restart."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from retrieval.index.interface import Collection
from retrieval.index.schema import CollectionLayout
from retrieval.index.server import optimizer
from retrieval.index.server.index import ServerIndex
from retrieval.index.server.optimizer import search_settings
from retrieval.index.server.replicas import GREEN, GREY, missing_graphs, read_replicas
from tests.congruence.conftest import META, NAME, make_points
from tests.qdrant.node import QdrantNode
from tests.qdrant.servers import QdrantCluster, running_cluster, running_node

pytestmark = pytest.mark.real

COUNT = 1_600
POINTS = make_points(COUNT)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sizes at which 1,600 images of 24 numbers need several segments for a load, and graphs afterwards."""
    monkeypatch.setattr(optimizer, "LOADED_SEGMENT_IMAGES", 320)
    monkeypatch.setattr(optimizer, "EXACT_UP_TO_KB", 32)
    monkeypatch.setattr(optimizer, "EXACT_FILTERED_UP_TO_KB", 4)


def connect(url: str) -> ServerIndex:
    return ServerIndex.connect(url, api_key=None, timeout_s=30, patience_s=60)


def load(index: ServerIndex, **layout: int) -> Collection:
    """All points, in the load phase."""
    made = index.create(META, name=NAME, layout=CollectionLayout(**layout))
    made.begin_load(COUNT)
    for start in range(0, COUNT, 100):
        made.upsert(POINTS[start : start + 100])
    return made


def segments_of(node: QdrantNode) -> list[dict]:
    """The segments with images on one node."""
    found = node.result("GET", "/telemetry?details_level=4")["collections"]["collections"]
    shards = next(each["shards"] for each in found if each["id"] == NAME)
    held = [segment for shard in shards if shard["local"] for segment in shard["local"]["segments"]]
    return [segment["info"] for segment in held if segment["info"]["num_points"]]


def indexed(segment: dict) -> dict[str, int]:
    return {name: counts["num_indexed_vectors"] for name, counts in segment["vector_data"].items()}


@pytest.fixture
def index(qdrant_node: QdrantNode):
    opened = connect(qdrant_node.url)
    yield opened
    opened.drop(NAME)
    opened.close()


def test_a_load_builds_nothing_and_its_end_makes_one_segment_with_graphs(index, qdrant_node):
    made = index.create(META, name=NAME)
    made.begin_load(COUNT)
    for number in range(5):
        made.upsert(POINTS[320 * number : 320 * (number + 1)])
        # The server makes the next segment in the background; until then the full one takes more images.
        qdrant_node.wait_until(
            lambda: qdrant_node.result("GET", f"/collections/{NAME}")["segments_count"] == number + 2,  # noqa: B023
            "does not make another segment",
        )
    during = segments_of(qdrant_node)
    assert [segment["num_points"] for segment in during] == [320] * 5
    assert not any(indexed(segment)["image"] for segment in during)
    made.optimize()
    (whole,) = segments_of(qdrant_node)
    assert whole["num_points"] == COUNT
    expected = {name: sum(name in point.vectors for point in POINTS) for name in ("image", "findings", "impression")}
    assert {name: count for name, count in indexed(whole).items() if name in expected} == expected
    config = qdrant_node.result("GET", f"/collections/{NAME}")["config"]
    assert config["hnsw_config"]["m"] > 0
    assert config["optimizer_config"]["default_segment_number"] == 1


def test_images_that_are_added_later_are_merged_with_the_others(index, qdrant_node):
    made = load(index)
    made.optimize()
    more = make_points(2 * COUNT)[COUNT:]
    made.begin_load(len(more))
    for start in range(0, len(more), 100):
        made.upsert(more[start : start + 100])
    made.optimize()
    (whole,) = segments_of(qdrant_node)
    assert (whole["num_points"], indexed(whole)["image"]) == (2 * COUNT, 2 * COUNT)


def test_graph_links_are_built_only_for_fields_that_filters_use(index, qdrant_node):
    index.create(META, name=NAME)
    schema = qdrant_node.result("GET", f"/collections/{NAME}")["payload_schema"]
    linked = {name for name, field in schema.items() if (field.get("params") or {}).get("enable_hnsw", True)}
    assert linked >= {"dataset", "view", "present", "study_date"}
    assert linked.isdisjoint({"study_id", "mesh", "problems", "report_group", "image_sha256"})


def test_a_server_that_restarts_before_it_has_built_is_triggered(tmp_path):
    with running_node(tmp_path / "node") as node:
        index = connect(node.url)
        made = load(index)
        node.terminate()
        # As if it had been killed after it received the settings for searches, and before it built.
        path = Path(node.folder) / "storage" / "collections" / NAME / "config.json"
        config = json.loads(path.read_text())
        wanted = search_settings(META, COUNT).to_request()
        config["optimizer_config"] |= wanted["optimizers_config"]
        config["hnsw_config"] |= wanted["hnsw_config"]
        path.write_text(json.dumps(config))
        node.restart()
        client = index._client
        assert [replica.status for replica in read_replicas(client, NAME)] == [GREY]
        assert len(segments_of(node)) > 1
        made.optimize()
        assert [replica.status for replica in read_replicas(client, NAME)] == [GREEN]
        (whole,) = segments_of(node)
        assert indexed(whole)["image"] == COUNT
        index.close()


def test_every_replica_of_a_cluster_has_graphs_in_the_end(qdrant_cluster: QdrantCluster):
    index = connect(qdrant_cluster.addresses)
    made = load(index, shards=2, replicas=2)
    made.optimize()
    replicas = read_replicas(index._client, NAME)
    assert len(replicas) == 4
    assert {(replica.state, replica.status) for replica in replicas} == {("Active", GREEN)}
    held = [segment for node in qdrant_cluster.nodes for segment in segments_of(node)]
    assert sum(segment["num_points"] for segment in held) == 2 * COUNT
    assert sum(indexed(segment)["image"] for segment in held) == 2 * COUNT
    threshold = search_settings(META, COUNT).indexing_threshold
    for node in qdrant_cluster.nodes:
        opened = connect(node.url)
        assert missing_graphs(opened._client, NAME, threshold) == []
        opened.close()
    index.drop(NAME)
    index.close()


def test_a_node_that_is_away_does_not_stop_the_others_and_builds_when_it_is_back(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(optimizer, "EXACT_UP_TO_KB", 16)  # a third of the images is less than the size above
    with running_cluster(tmp_path / "cluster") as cluster:
        index = connect(cluster.addresses)
        made = load(index, shards=3, replicas=2)
        gone = cluster.nodes[2]
        gone.kill()
        with caplog.at_level(logging.WARNING):
            made.optimize()
        assert "does not answer; it is optimized when its node is back" in caplog.text
        statuses = [replica.status for replica in read_replicas(index._client, NAME)]
        assert sorted(statuses, key=str) == [None] * 2 + [GREEN] * 4
        gone.restart()
        cluster.wait_until_whole()
        made.optimize()
        assert [replica.status for replica in read_replicas(index._client, NAME)] == [GREEN] * 6
        assert sum(indexed(segment)["image"] for node in cluster.nodes for segment in segments_of(node)) == 2 * COUNT
        index.close()
