"""Times the ways to send one search to a Qdrant server: the one in use, and those that were not chosen."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from qdrant_client import QdrantClient, models

from benchmarks.search import in_turn, request_for
from retrieval.index.interface import Collection, IndexPoint
from retrieval.index.server.http import ServerClient
from retrieval.index.server.search import FoundPoint, ServerSearch

_POOL = 100


class _Points(msgspec.Struct):
    points: list[FoundPoint]


class _Answer(msgspec.Struct):
    result: list[_Points]


def ways_to_send(server: str, collection: Collection, asked: Sequence[IndexPoint]) -> dict[str, Any]:
    """Milliseconds of the second request of a five-signal search, the largest: formula and signals over a pool of 100.

    `plain` is httpx with msgspec, as in use; `http_client` the same with the standard library; `qdrant_client` its public
    method, `lower_layer` the generated call below it, `grpc` its public method over gRPC (on the next port, as by
    default). All send the same vectors and read ten payloads.
    """
    path = f"/collections/{collection.name}/points/query/batch"
    batches = [_second_request(collection, point) for point in asked]
    parsed = [[models.QueryRequest.model_validate(search) for search in batch] for batch in batches]
    plain = ServerClient([server], api_key=None, timeout_s=30)
    client = QdrantClient(url=server, timeout=30, check_compatibility=False)
    address = urlsplit(server)
    kept = http.client.HTTPConnection(str(address.hostname), address.port or 80)

    def by_http_client(batch: list[dict[str, Any]]) -> list[_Points]:
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        kept.request("POST", path, msgspec.json.encode({"searches": batch}), headers)
        return msgspec.json.decode(kept.getresponse().read(), type=_Answer).result

    lower = client.http.search_api
    ways: dict[str, Callable[[int], Any]] = {
        "plain": lambda n: plain.call("POST", path, {"searches": batches[n]}, list[_Points]),
        "http_client": lambda n: by_http_client(batches[n]),
        "lower_layer": lambda n: (
            lower.query_batch_points(
                collection.name, query_request_batch=models.QueryRequestBatch(searches=parsed[n])
            ).result
        ),
        "qdrant_client": lambda n: client.query_batch_points(collection.name, parsed[n]),
    }
    grpc_port = (address.port or 6333) + 1
    grpc = QdrantClient(url=server, grpc_port=grpc_port, prefer_grpc=True, timeout=30, check_compatibility=False)
    try:
        grpc.query_batch_points(collection.name, parsed[0])
        ways["grpc"] = lambda n: grpc.query_batch_points(collection.name, parsed[n])
    except Exception as error:
        print(f"gRPC is not measured: {str(error).splitlines()[0]}")
    numbers = range(len(asked))
    found = in_turn({name: {"second_request": [_bound(way, n) for n in numbers]} for name, way in ways.items()})
    for each in (plain, client, grpc, kept):
        each.close()
    return found


def _bound(way: Callable[[int], Any], number: int) -> Callable[[], Any]:
    return lambda: way(number)


def _second_request(collection: Collection, point: IndexPoint) -> list[dict[str, Any]]:
    request = request_for(point, collection, "signals")
    sent: list[list[dict[str, Any]]] = []

    def record(path: str, body: Any, answer: Any) -> Any:
        sent.append(body["searches"])
        return [_Points([]) for _ in body["searches"]]

    pool = [FoundPoint(record.point_id) for record in collection.scroll(request.filters, limit=_POOL)]
    ServerSearch(request, record).best(pool, request.limit)
    plain: list[dict[str, Any]] = msgspec.json.decode(msgspec.json.encode(sent[0]))
    return plain
