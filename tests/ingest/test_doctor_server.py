"""The doctor on a Qdrant server: what a server reports, as results that name what is wrong and what to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ingest.doctor.checks import Diagnosis
from ingest.doctor.server import answers
from ingest.doctor.server.checks import check_server, check_server_collection
from ingest.doctor.server.health import (
    CollectionHealth,
    Node,
    Replica,
    SegmentVectors,
    ServerHealth,
    read_health,
)
from retrieval.index.interface import FACET_LIMIT
from retrieval.index.schema import DATE_FIELD, KEYWORD_FIELDS
from tests.recovery.qdrant_stand_in import QdrantStandIn

NAME = "cxr_biomedclip"
INDEXED = {name: {"data_type": "keyword"} for name in KEYWORD_FIELDS} | {DATE_FIELD: {"data_type": "datetime"}}


def info(
    *, status: str = "green", replicas: int = 2, threshold: int = 10_000, links: int = 16, **more: Any
) -> answers.Info:
    config = {
        "params": {"shard_number": 1, "replication_factor": replicas},
        "optimizer_config": {"indexing_threshold": threshold},
        "hnsw_config": {"m": links},
        "strict_mode_config": more.pop("strict_mode", None),
    }
    return msgspec.convert({"status": status, "config": config, "payload_schema": INDEXED} | more, answers.Info)


def healthy(**more: Any) -> CollectionHealth:
    fields: dict[str, Any] = {
        "info": info(),
        "replicas": (Replica(0, 1, "Active", "green"), Replica(0, 2, "Active", "green")),
        "segments": [SegmentVectors(1, 0, "image", 512, 40_000, 40_000)],
        "seen_peers": {1},
        "queue": answers.Queue(),
        "disk_bytes": 730_000_000,
    }
    fields |= more
    return CollectionHealth(**{"config": fields["info"] and fields["info"].config} | fields)


def cluster(collection: CollectionHealth | None = None, **more: Any) -> ServerHealth:
    """A cluster of three nodes in good health."""
    fields: dict[str, Any] = {
        "addresses": {"http://a:6333": "1.18.3"},
        "nodes": tuple(Node(n, f"http://{name}:6335/", True, "1.18.3") for n, name in enumerate("abc", start=1)),
        "is_cluster": True,
        "aliases": {"cxr": NAME},
        "disks": {"http://a:6333": 500_000_000_000},
        "collections": {NAME: collection or healthy()},
    }
    return ServerHealth(**fields | more)


def found_in(health: ServerHealth) -> dict[str, tuple[str, str]]:
    """Level and message by check, of the server and of its collection."""
    diagnosis = Diagnosis("biomedclip", NAME)
    check_server_collection(diagnosis, health, timeout_s=30)
    results = [*check_server(health), *diagnosis.results]
    assert len({each.check for each in results}) == len(results)
    return {each.check: (each.level, each.message) for each in results}


def not_ok(health: ServerHealth) -> dict[str, tuple[str, str]]:
    """Everything but the note on free disk, which a server never tells."""
    return {check: found for check, found in found_in(health).items() if found[0] != "ok" and check != "free disk"}


def test_a_healthy_cluster_is_described_and_has_no_problem():
    found = found_in(cluster())
    assert not_ok(cluster()) == {}
    assert found["server"] == ("ok", "Qdrant 1.18.3 at http://a:6333")
    assert found["nodes"] == ("ok", "3: http://a:6335/, http://b:6335/, http://c:6335/")
    assert found["aliases"] == ("ok", f"cxr -> {NAME}")
    assert found["replicas"] == ("ok", "shards x replicas: 1 x 2; 1 on http://a:6335/, 1 on http://b:6335/")
    assert found["graphs"] == (
        "ok",
        "images in graphs: image 40,000 of 40,000; seen on 1 of 2 nodes: name all of them in CXR_INDEX",
    )
    assert found["payload indexes"] == ("ok", "15, none is missing")
    assert found["size on disk"] == ("ok", "0.7 GB on all nodes")
    assert found["free disk"][0] == "note"
    assert "500.0 GB at http://a:6333" in found["free disk"][1]


@pytest.mark.parametrize(
    ("version", "level"), [("1.17.9", "problem"), ("1.18.0", "ok"), ("1.20.1", "ok"), ("", "note")]
)
def test_a_server_older_than_the_oldest_that_was_tried_is_a_problem(version, level):
    found = found_in(ServerHealth(addresses={"http://a": version}))["server"]
    assert found[0] == level
    assert ("upgrade it" in found[1]) == (level == "problem")


def test_nodes_of_different_versions_are_named():
    nodes = (
        Node(1, "http://a", True, "1.18.3"),
        Node(2, "http://b", True, "1.19.1"),
        Node(3, "http://c", True, "1.19.1"),
    )
    assert not_ok(cluster(nodes=nodes)) == {
        "server": ("note", "Qdrant 1.18.3, 1.19.1 at http://a:6333: nodes of different versions; complete the upgrade")
    }


def test_a_node_that_is_away_is_named_with_its_replicas_and_what_to_do():
    replicas = (Replica(0, 1, "Active", "green"), Replica(0, 2, "Dead"))
    nodes = (Node(1, "http://a", True, "1.18.3"), Node(2, "http://b", False, ""), Node(3, "http://c", True, "1.18.3"))
    found = not_ok(cluster(healthy(replicas=replicas), nodes=nodes))
    assert found.keys() == {"nodes", "replicas"}
    level, message = found["nodes"]
    assert level == "problem"
    assert message.startswith("no answer from http://b (node 2) to the other nodes. Start it again")
    assert "gone for good" in message
    level, message = found["replicas"]
    assert level == "problem"
    assert message.startswith("shard 0: 1 of 2 replicas (Dead on http://b); a dead replica recovers by itself")


def test_a_replica_on_a_node_that_is_away_counts_as_away_before_the_server_calls_it_dead():
    nodes = (Node(1, "http://a", True, "1.18.3"), Node(2, "http://b", False, ""), Node(3, "http://c", True, "1.18.3"))
    assert "shard 0: 1 of 2 replicas (away on http://b)" in not_ok(cluster(nodes=nodes))["replicas"][1]


def test_an_address_without_an_answer_is_named():
    found = not_ok(cluster(silent={"http://d:6333": "connection refused"}))
    assert found["nodes"][1].startswith("http://d:6333 does not answer (connection refused). Start it again")


def test_fewer_replicas_than_the_collection_asks_for_are_a_problem_also_if_all_are_active():
    level, message = not_ok(cluster(healthy(info=info(replicas=3))))["replicas"]
    assert (level, message.partition(";")[0]) == ("problem", "shard 0: 2 of 3 replicas")
    assert "add replicas" in message


def test_a_shard_without_a_replica_makes_searches_fail():
    message = not_ok(cluster(healthy(replicas=(Replica(0, 1, "Dead"), Replica(0, 2, "Dead")))))["replicas"][1]
    assert "searches fail until its node is back" in message


def test_a_replica_that_is_being_recovered_is_a_problem_that_ends_by_itself():
    replicas = (Replica(0, 1, "Active", "green"), Replica(0, 2, "Partial", "green"))
    assert "run `cxr doctor` again in a minute" in not_ok(cluster(healthy(replicas=replicas)))["replicas"][1]


def test_two_nodes_have_no_majority_when_one_is_away():
    nodes = (Node(1, "http://a", True, "1.18.3"), Node(2, "http://b", True, "1.18.3"))
    assert not_ok(cluster(nodes=nodes))["majority"][0] == "note"
    away = (nodes[0], Node(2, "http://b", False, ""))
    for without in (cluster(nodes=nodes, has_leader=False), cluster(nodes=away)):
        level, message = not_ok(without)["majority"]
        assert level == "problem"
        assert "2 of 2 must answer" in message


def test_a_node_whose_agreement_thread_has_ended_is_a_problem():
    found = not_ok(cluster(consensus_error="http://a:6333: disk full"))
    assert found["agreement of the nodes"][0] == "problem"
    assert "disk full" in found["agreement of the nodes"][1]


GREY = (Replica(0, 1, "Active", "green"), Replica(0, 2, "Active", "grey"))
YELLOW = (Replica(0, 1, "Active", "yellow"), Replica(0, 2, "Active", "green"))
RED = (Replica(0, 1, "Active", "red"), Replica(0, 2, "Active", "green"))


@pytest.mark.parametrize(
    ("collection", "level", "message"),
    [
        (
            healthy(replicas=GREY, queue=answers.Queue(1, 12_000)),
            "problem",
            "it was interrupted on http://b:6335/ and begins again only with the next write; 12,000 images wait for it; run "
            "`cxr ingest finish --model biomedclip`",
        ),
        (healthy(replicas=YELLOW, queue=answers.Queue(1, 9)), "note", "it works; 9 images wait for it"),
        (healthy(replicas=RED), "problem", "it has failed on http://a:6335/: see the log of the server"),
        (
            healthy(replicas=RED, errors={1: "No space left"}),
            "problem",
            "it has failed on http://a:6335/: http://a:6335/: No space left",
        ),
        (
            healthy(info=info(threshold=0)),
            "problem",
            "it is paused, and searches compare all images; run `cxr ingest finish --model biomedclip`",
        ),
        (
            healthy(queue=answers.Queue(2, 500)),
            "problem",
            "500 images wait for it; run `cxr ingest finish --model biomedclip`",
        ),
    ],
)
def test_an_optimizer_that_does_not_end_its_work_is_named_with_the_command_that_helps(collection, level, message):
    assert not_ok(cluster(collection))["optimizer"] == (level, message)


def test_a_vector_without_a_graph_is_named_by_node():
    segments = [SegmentVectors(1, 0, "image", 512, 40_000, 40_000), SegmentVectors(1, 0, "findings", 512, 30_000, 0)]
    level, message = not_ok(cluster(healthy(segments=segments)))["graphs"]
    assert level == "problem"
    assert message.startswith("30,000 images have no graph of findings on http://a:6335/; run `cxr ingest finish")
    few = [SegmentVectors(1, 0, "image", 512, 400, 0)]
    for small in (healthy(segments=few), healthy(segments=few, info=info(links=0))):
        assert found_in(cluster(small))["graphs"][1].startswith("none is needed: searches compare all images")


def test_a_collection_that_cannot_be_read_is_described_by_what_its_nodes_tell():
    whole = healthy()
    told = healthy(info=None, config=whole.config, replicas=(Replica(0, 1, "Active", "green"), Replica(0, 2, "Dead")))
    found = not_ok(cluster(told, is_hindered=True))
    assert {check: level for check, (level, _) in found.items()} == {"replicas": "problem", "payload indexes": "note"}
    assert found["payload indexes"][1] == "not known while nodes do not answer"


def test_missing_payload_indexes_are_named_with_the_request_that_makes_them():
    schema = {name: kind for name, kind in INDEXED.items() if name != "view"} | {DATE_FIELD: {"data_type": "keyword"}}
    level, message = not_ok(cluster(healthy(info=info(payload_schema=schema))))["payload indexes"]
    assert level == "problem"
    assert message.startswith(f"view (keyword), {DATE_FIELD} (datetime) missing")
    assert f"PUT /collections/{NAME}/index" in message


@pytest.mark.parametrize(
    ("setting", "value", "fine"),
    [
        ("max_query_limit", 1_000, FACET_LIMIT),
        ("condition_max_size", 100, 1_000),
        ("search_max_batchsize", 3, 4),
        ("search_max_oversampling", 4.0, 20.0),
        ("search_allow_exact", False, True),
        ("upsert_max_batchsize", 100, 200),
        ("max_timeout", 5, 60),
    ],
)
def test_a_limit_that_refuses_requests_is_a_problem_while_it_is_set_and_on(setting, value, fine):
    def limits(**strict_mode: Any) -> dict[str, tuple[str, str]]:
        return not_ok(cluster(healthy(info=info(strict_mode=strict_mode))))

    level, message = limits(enabled=True, **{setting: value})["strict mode"]
    assert level == "problem"
    assert setting in message
    assert limits(enabled=False, **{setting: value}) == {}
    assert limits(enabled=True, **{setting: fine}) == {}


def test_limits_that_may_refuse_some_day_are_a_note():
    level, message = not_ok(cluster(healthy(info=info(strict_mode={"enabled": True, "read_rate_limit": 60}))))[
        "strict mode"
    ]
    assert (level, message) == ("note", "may refuse: read_rate_limit 60")


def test_a_key_in_clear_and_a_missing_alias_are_notes():
    found = not_ok(cluster(sends_key_in_clear=True, aliases={}))
    assert {check: level for check, (level, _) in found.items()} == {"key": "note", "aliases": "note"}


def test_a_server_that_answers_only_what_the_engine_needs_is_no_problem():
    with QdrantStandIn(api_key="key") as server:
        health = read_health([server.url], [NAME], api_key="key", timeout_s=5)
        found = found_in(health)
        assert {level for level, _ in found.values()} == {"note"}
        assert {check for check, (_, message) in found.items() if "not visible with this key" in message} >= {
            "server",
            "nodes",
            "replicas",
            "graphs",
            "payload indexes",
        }


def test_a_server_that_refuses_the_key_or_does_not_answer_is_part_of_the_state():
    with QdrantStandIn(api_key="key") as server:
        health = read_health([server.url], [NAME], api_key="wrong", timeout_s=5)
        assert (health.silent, health.collections[NAME].info) == ({}, None)
    health = read_health([server.url, server.url + "/"], [NAME], api_key=None, timeout_s=5)
    assert health.silent.keys() == {server.url, server.url + "/"}
    assert health.collections == {}


def test_a_key_is_in_clear_only_where_it_leaves_this_machine():
    for url, is_clear in (("http://127.0.0.1:1", False), ("http://localhost:1", False), ("http://192.0.2.1:1", True)):
        assert read_health([url], [], api_key="key", timeout_s=0.01).sends_key_in_clear == is_clear
        assert not read_health([url], [], api_key=None, timeout_s=0.01).sends_key_in_clear
