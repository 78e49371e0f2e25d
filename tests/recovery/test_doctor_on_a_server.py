"""`cxr doctor` on real Qdrant servers: it names what is wrong while it is wrong, and is silent afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ingest.doctor.checks import Diagnosis
from ingest.doctor.server.checks import check_server, check_server_collection
from ingest.doctor.server.health import ServerHealth, read_health
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, IndexPoint
from retrieval.index.schema import CollectionLayout
from retrieval.index.search_request import OverlapSignal, SearchRequest, VectorSignal, Words
from retrieval.index.server.index import ServerIndex
from tests.congruence.conftest import META, NAME, load, make_points, unit_vectors
from tests.qdrant import keys
from tests.qdrant.node import QdrantNode, require_qdrant
from tests.qdrant.servers import QdrantCluster, running_cluster, running_node
from tests.recovery.server_commands import cxr, ingest_options

pytestmark = pytest.mark.real


def read(*urls: str, key: str | None = None, ca_file: Path | None = None) -> ServerHealth:
    return read_health(urls, [NAME], api_key=key, timeout_s=10, ca_file=ca_file)


def not_ok(health: ServerHealth) -> dict[str, tuple[str, str]]:
    """Everything but the note on free disk, which a server never tells."""
    diagnosis = Diagnosis("congruence", NAME)
    check_server_collection(diagnosis, health, timeout_s=30)
    results = [*check_server(health), *diagnosis.results]
    return {
        each.check: (each.level, each.message) for each in results if each.level != "ok" and each.check != "free disk"
    }


def problems(health: ServerHealth) -> dict[str, str]:
    return {check: message for check, (level, message) in not_ok(health).items() if level == "problem"}


def fill(url: str, layout: CollectionLayout = CollectionLayout()) -> Collection:
    """The collection with 150 points, which is active."""
    index = ServerIndex.connect(url, api_key=None, timeout_s=30)
    collection = load(index, msgspec.structs.replace(META, layout=layout), make_points())
    index.activate(NAME)
    return collection


@pytest.fixture
def node(qdrant_node: QdrantNode) -> Iterator[QdrantNode]:
    yield qdrant_node
    qdrant_node.drop_all()


def doctor(home: Path, index: str) -> tuple[int, dict[str, Any]]:
    done = cxr(home, index, "doctor", "--json")
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_command_is_content_with_a_fresh_ingest_and_names_an_index_that_was_deleted(node, home, archive):
    assert cxr(home, node.url, *ingest_options(archive)).returncode == 0
    code, told = doctor(home, node.url)
    assert code == 0, told
    assert {each["check"] for each in told["server"]["findings"]} == {"server", "nodes", "aliases", "free disk"}
    node.result("DELETE", "/collections/cxr_tiny/index/view?wait=true")
    code, told = doctor(home, node.url)
    assert code == 3
    (problem,) = [each for each in told["collections"][0]["findings"] if each["level"] == "problem"]
    assert problem["message"].startswith("view (keyword) missing")
    made = {"field_name": "view", "field_schema": "keyword"}
    node.result("PUT", "/collections/cxr_tiny/index?wait=true", made)
    assert doctor(home, node.url)[0] == 0


def every_request(collection: Collection) -> None:
    """The largest requests of each kind: a full search by all signals and lists, counts, facets, reads and writes."""
    signals = tuple(VectorSignal(name, unit_vectors(1, 5)[0], 0.3) for name in ("image", "findings", "impression"))
    overlaps = (OverlapSignal("present", ("Nodule",), 0.1), OverlapSignal("mesh", ("Nodule", "Nodule/left"), 0.1))
    lists = (*signals, Words("heart nodule"))
    for k, candidates in ((1, 1), (100, 1000)):
        request = SearchRequest(signals=signals, overlaps=overlaps, lists=lists, limit=k, candidates=candidates)
        assert collection.search(request)
        assert collection.search(SearchRequest(lists=lists, limit=k, candidates=candidates))
        assert collection.search(SearchRequest(signals=signals[:1], limit=k, filters=Filters(any=("Nodule",))))
    assert collection.facet("present")
    assert collection.count(Filters(view="frontal"))
    assert len(list(collection.scroll(limit=None, vectors=("image",)))) >= 150
    collection.upsert(make_points(200))


def test_limits_are_problems_exactly_if_they_refuse_requests(node):
    collection = fill(node.url)

    def limit(**strict_mode: Any) -> dict[str, str]:
        node.result("PATCH", f"/collections/{NAME}", {"strict_mode_config": {"enabled": True} | strict_mode})
        return problems(read(node.url))

    least = {
        "max_query_limit": 100_000,
        "condition_max_size": 1_000,
        "search_max_batchsize": 4,
        "search_max_oversampling": 12.0,
        "search_allow_exact": True,
        "upsert_max_batchsize": 200,
        "unindexed_filtering_retrieve": False,
        "unindexed_filtering_update": False,
        "max_timeout": 30,
    }
    refused = {
        "max_query_limit": 99_999,
        "search_max_batchsize": 3,
        "search_max_oversampling": 11.0,
        "search_allow_exact": False,
        "upsert_max_batchsize": 199,
    }
    assert limit(**least) == {}
    every_request(collection)
    for setting, value in refused.items():
        assert setting in limit(**least | {setting: value})["strict mode"]
        with pytest.raises(Exception, match="refuses"):
            every_request(collection)
    node.result("PATCH", f"/collections/{NAME}", {"strict_mode_config": {"enabled": False}})
    assert not_ok(read(node.url)) == {}


def test_a_key_sees_what_it_may_and_the_rest_is_no_problem(qdrant_secure):
    ca_file = qdrant_secure.folder / "ca.pem"
    index = ServerIndex.connect(qdrant_secure.url, api_key=keys.API_KEY, timeout_s=30, ca_file=ca_file)
    load(index, META, make_points())
    index.activate(NAME)
    try:
        for key in (keys.API_KEY, keys.READ_ONLY_KEY):
            assert not_ok(read(qdrant_secure.url, key=key, ca_file=ca_file)) == {}
        token = keys.make_token([{"collection": NAME, "access": "r"}])
        told = not_ok(read(qdrant_secure.url, key=token, ca_file=ca_file))
        assert {level for level, _ in told.values()} == {"note"}
        assert told["nodes"] == ("note", "not visible with this key")
        assert "the token of this key does not name the alias" in told["aliases"][1]
    finally:
        qdrant_secure.drop_all()
        index.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[QdrantCluster]:
    with running_cluster(tmp_path / "cluster") as cluster:
        fill(cluster.nodes[0].url, CollectionLayout(shards=2, replicas=2))
        cluster.wait_until_whole()
        yield cluster


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_killed_node_is_named_until_it_is_back(cluster, number):
    assert not_ok(read(*(each.url for each in cluster.nodes))) == {}
    others = [each.url for place, each in enumerate(cluster.nodes) if place != number]
    cluster.nodes[number].kill()
    for urls in (others, others[:1], [cluster.nodes[number].url, *others]):
        told = problems(read(*urls))
        assert cluster.nodes[number].p2p_url in told["nodes"]
        assert cluster.nodes[number].p2p_url in told["replicas"]
        assert told.keys() <= {"nodes", "replicas", "majority"}
    cluster.nodes[number].restart()
    cluster.wait_until_whole()
    assert not_ok(read(*(each.url for each in cluster.nodes))) == {}


def test_a_stopped_node_is_named_until_it_goes_on(cluster):
    first, _, last = cluster.nodes
    last.stop()
    try:
        assert last.p2p_url in problems(read(first.url))["nodes"]
    finally:
        last.resume()
    cluster.wait_until_whole()
    assert not_ok(read(first.url)) == {}


def test_without_a_majority_the_doctor_says_how_many_nodes_must_answer(cluster):
    first, *others = cluster.nodes
    for node in others:
        node.kill()
    assert "2 of 3 must answer" in problems(read(first.url))["majority"]
    for node in others:
        node.restart()
    cluster.wait_until_whole()
    assert not_ok(read(first.url)) == {}


def test_a_node_that_is_gone_for_good_is_replaced_as_the_guide_says(cluster, tmp_path):
    first, _, gone = cluster.nodes
    peer = gone.result("GET", "/cluster")["peer_id"]
    gone.kill()
    new = QdrantNode(require_qdrant(), tmp_path / "new", {"QDRANT__CLUSTER__ENABLED": "true"})
    try:
        new.start("--uri", new.p2p_url, "--bootstrap", first.p2p_url)
        new.wait_until_ready()
        first.result("DELETE", f"/cluster/peer/{peer}?force=true")
        told = problems(read(first.url))
        assert told.keys() == {"replicas"}
        assert "1 of 2 replicas" in told["replicas"]
        added = new.result("GET", "/cluster")["peer_id"]
        replicas = read(first.url).collections[NAME].replicas or ()
        for shard in (0, 1):
            held = [each.peer for each in replicas if each.shard == shard]
            if len(held) == 1:
                copy = {"shard_id": shard, "from_peer_id": held[0], "to_peer_id": added}
                first.result("POST", f"/collections/{NAME}/cluster", {"replicate_shard": copy})
        first.wait_until(lambda: not_ok(read(first.url, new.url)) == {}, "has too few replicas")
    finally:
        new.close()


def test_two_nodes_are_told_that_they_have_no_majority(tmp_path):
    with running_cluster(tmp_path / "two", 2) as cluster:
        fill(cluster.nodes[0].url, CollectionLayout(replicas=2))
        cluster.wait_until_whole()
        told = not_ok(read(cluster.nodes[0].url))
        assert told.keys() == {"majority"}
        assert told["majority"][0] == "note"


def test_a_server_killed_while_it_builds_graphs_is_grey_until_the_collection_is_optimized(tmp_path):
    count, dim = 12_000, 256
    vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    template = make_points(1)[0]
    points = [
        IndexPoint(str(number + 1).zfill(32), {"image": vector}, "", template.payload)
        for number, vector in enumerate(vectors)
    ]
    with running_node(tmp_path / "node") as node:
        index = ServerIndex.connect(node.url, api_key=None, timeout_s=30, patience_s=60)
        collection = index.create(msgspec.structs.replace(META, dim=dim), name=NAME)
        collection.begin_load(count)
        for start in range(0, count, 1000):
            collection.upsert(points[start : start + 1000])
        assert "optimizer" in problems(read(node.url))  # paused
        slow = {"hnsw_config": {"m": 64, "ef_construct": 1000}, "optimizers_config": {"indexing_threshold": 100}}
        node.result("PATCH", f"/collections/{NAME}", slow)
        node.wait_until(lambda: node.result("GET", f"/collections/{NAME}")["status"] == "yellow", "does not begin")
        assert not_ok(read(node.url))["optimizer"][0] == "note"
        node.kill()
        node.restart()
        told = problems(read(node.url))
        assert "begins again only with the next write" in told["optimizer"]
        assert "images wait for it" in told["optimizer"]
        assert "cxr ingest finish --model congruence" in told["optimizer"]
        collection.optimize()
        assert problems(read(node.url)) == {}
        index.close()
