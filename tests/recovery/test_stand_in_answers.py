"""The stand-in answers every request that the project sends as a real server does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from retrieval.index.filters import Filters
from retrieval.index.schema import DENSE_VECTORS, CollectionLayout
from retrieval.index.search_request import OverlapSignal, SearchRequest, VectorSignal, Words
from retrieval.index.server.index import ServerIndex
from tests.congruence.conftest import META, NAME, make_points, unit_vectors
from tests.qdrant.node import QdrantNode
from tests.recovery.qdrant_stand_in import QdrantStandIn
from tests.recovery.stand_in_http import ROUTES, call_name

pytestmark = pytest.mark.real

OTHER = f"{NAME}_other"
# Numbers of writes and of changes, which differ from run to run, and what only newer servers have.
_IGNORED = {"operation_id", "version", "order_value", "shard_key", "memory"}
# The stand-in holds vectors in double precision, a server in half precision.
_TOLERANCE = 2e-3


@dataclass(frozen=True)
class Exchange:
    """A request of the project, and the answer of the server."""

    method: str
    path: str
    body: Any
    status: int
    answer: Any

    @property
    def call(self) -> str:
        """Name of the route."""
        return call_name(self.method, self.path)


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """The exchanges of all clients of this process, in order."""
    recorded: list[Exchange] = []
    send = httpx.HTTPTransport.handle_request

    def record(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        sent = request.read()
        response = send(transport, request)
        content = response.read()
        body = json.loads(sent) if sent else None
        path = request.url.raw_path.decode()
        recorded.append(Exchange(request.method, path, body, response.status_code, json.loads(content)))
        return response

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", record)
    return recorded


@pytest.fixture
def stand_in() -> Iterator[httpx.Client]:
    """A client of an empty stand-in."""
    with QdrantStandIn() as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def test_the_stand_in_answers_as_the_server_did(qdrant_node: QdrantNode, stand_in, exchanges):
    use_everything(qdrant_node.url)
    recorded = tuple(exchanges)
    assert {each.call for each in recorded} == {name for _, _, _, name in ROUTES}
    for each in recorded:
        response = stand_in.request(each.method, each.path, json=each.body)
        where = f"{each.method} {each.path} {json.dumps(each.body)[:300]}"
        assert response.status_code == each.status, f"{where}: {response.text}"
        assert_alike(comparable(each.call, response.json()), comparable(each.call, each.answer), where)
    assert qdrant_node.collections() == []


def use_everything(url: str) -> None:
    """Call every method of an index and of a collection."""
    points = make_points(60)
    index = ServerIndex.connect(url, api_key=None, timeout_s=30)
    made = index.create(META, name=NAME, layout=CollectionLayout(quantization="none"))
    made.begin_load(5_000)
    made.upsert(points[:40])
    made.upsert(points[40:])
    made.optimize()
    httpx.get(f"{url}/collections/{NAME}/optimizations")  # read only while the server optimises
    made.record(msgspec.structs.replace(META, complete=True))
    made.fetch([points[1].point_id, "00000000-0000-0000-0000-000000000000"])
    made.retrieve([points[2].point_id], vectors=DENSE_VECTORS)
    for filters in (Filters(), Filters(view="frontal", any=("Nodule", "normal"), date_from="2012-01-01")):
        list(made.scroll(filters, limit=None, vectors=("image",)))
        list(made.scroll(filters, limit=7))
        made.count(filters)
        made.facet("present", filters)
        for request in searches():
            made.search(replace(request, filters=filters))
    # After the searches: until it merges, a server counts removed terms in the weights of words.
    made.upsert(points[30:40])
    changed = replace(points[4], vectors={"findings": unit_vectors(1, seed=3)[0]}, text="large nodule")
    made.replace_reports([changed, replace(points[5], vectors={}, text="")])
    made.delete([points[7].point_id])
    made.fetch([points[4].point_id, points[7].point_id])
    made.retrieve([points[4].point_id, points[5].point_id], vectors=DENSE_VECTORS)
    index.create(META, name=OTHER)
    for name in (NAME, OTHER):
        index.activate(name)
    index.active()
    index.previous()
    index.collections()
    for name in (OTHER, NAME):
        index.drop(name)
    index.close()


def searches() -> Iterator[SearchRequest]:
    queries = unit_vectors(6, seed=12)
    image, findings = (VectorSignal(name, queries[n], 1.0) for n, name in enumerate(("image", "findings")))
    liked = VectorSignal("image", queries[2], 1.0, like=(queries[3],), unlike=(queries[4],))
    yield SearchRequest(signals=(image,), vectors=("image", "findings"))
    yield SearchRequest(signals=(liked,))
    yield SearchRequest(lists=(Words("heart nodule"),))
    yield SearchRequest(lists=(image, findings))
    yield SearchRequest(
        signals=(replace(image, weight=0.5, zero=0.1), replace(findings, weight=0.3)),
        overlaps=(OverlapSignal("mesh", ("Nodule", "Nodule/left"), 0.2),),
        candidates=20,
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/collections/cxr_unknown", None, 404),
        ("PATCH", "/collections/cxr_unknown", {"metadata": {}}, 404),
        ("PUT", "/collections/cxr_unknown/points", {"points": [{"id": 1, "vector": {}}]}, 404),
        ("POST", "/collections/cxr_unknown/points/query/batch", {"searches": []}, 404),
        ("POST", "/collections/cxr_unknown/facet", {"key": "view"}, 404),
        ("PUT", "/collections/cxr_twice", {"vectors": {}}, 409),
        ("PUT", "/collections/cxr_new", {"vectors": 3}, 400),
        ("POST", "/collections/cxr_twice/points/scroll", {"limit": "many"}, 400),
        ("GET", "/collections/cxr_unknown/exists", None, 200),
        ("DELETE", "/collections/cxr_unknown", None, 200),
    ],
)
def test_the_stand_in_refuses_what_the_server_refuses(qdrant_node: QdrantNode, stand_in, method, path, body, status):
    answers = []
    for client in (qdrant_node.client, stand_in):
        client.put("/collections/cxr_twice", json={"vectors": {}})
        answers.append(client.request(method, path, json=body))
        client.delete("/collections/cxr_twice")
    assert [answer.status_code for answer in answers] == [status, status], [answer.text for answer in answers]
    if status >= 400:
        for answer in answers:
            assert isinstance(answer.json()["status"]["error"], str)
    else:
        assert_alike(comparable("", answers[1].json()), comparable("", answers[0].json()), path)


def comparable(call: str, answer: Any) -> Any:
    """The part of an answer that the project reads."""
    result = answer.get("result")
    if call == "GET collection":
        config = result["config"]
        params = ("vectors", "sparse_vectors")
        return {
            "points": result["points_count"],
            "indexes": {name: info["data_type"] for name, info in result["payload_schema"].items()},
            "metadata": config.get("metadata"),
            "params": {name: config["params"].get(name) for name in params},
            "threshold": config["optimizer_config"]["indexing_threshold"],
        }
    if call == "GET cluster":
        return [
            [(each["shard_id"], each["state"]) for each in result[kind]] for kind in ("local_shards", "remote_shards")
        ]
    if call == "GET optimizations":  # what runs differs from moment to moment
        return sorted(result["summary"])
    if call == "GET aliases":
        return sorted(result["aliases"], key=lambda each: each["alias_name"])
    if call == "POST facet":
        return {hit["value"]: hit["count"] for hit in result["hits"]}
    return result


def assert_alike(found: Any, expected: Any, where: str) -> None:
    """Compare two answers; a value that is null counts as absent."""
    if isinstance(expected, dict) and isinstance(found, dict):
        found, expected = (
            {key: value for key, value in each.items() if value is not None and key not in _IGNORED}
            for each in (found, expected)
        )
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_alike(found[key], value, f"{where} {key}")
    elif isinstance(expected, list) and isinstance(found, list):
        assert len(found) == len(expected), where
        if expected and isinstance(expected[0], dict) and "score" in expected[0]:
            assert_same_hits(found, expected, where)
            return
        if expected and isinstance(expected[0], float | int):
            np.testing.assert_allclose(found, expected, atol=_TOLERANCE, err_msg=where)
            return
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other, where)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=_TOLERANCE), where
    else:
        assert found == expected, where


def assert_same_hits(found: list[Any], expected: list[Any], where: str) -> None:
    """Half precision swaps points whose scores nearly tie, also at the cut; nothing else may differ."""
    scores = [[hit["score"] for hit in hits] for hits in (found, expected)]
    np.testing.assert_allclose(scores[0], scores[1], atol=_TOLERANCE, err_msg=where)
    by_id = {hit["id"]: hit for hit in expected}
    for hit in found:
        if hit["id"] in by_id:
            assert_alike(hit, by_id[hit["id"]], where)
        else:
            assert hit["score"] == pytest.approx(scores[1][-1], abs=_TOLERANCE), where
