"""Measures a Qdrant server beside the embedded index: searches, requests per search, ways to send them, the service.

    python -m benchmarks.server --server http://127.0.0.1:6333

The server runs on the same machine and is empty; what is made there is dropped again. The collections and requests are those
of `benchmarks.search`, and both engines alternate every 50 searches. The service runs with a shipped demo model and
8 clients, on the embedded index and on the server in turn. `benchmarks.server_load` measures loading.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.load_client import send
from benchmarks.result_file import write_result
from benchmarks.search import FILTERS, MODEL, Searches, in_turn, make_collections, read_asked, searches_of
from benchmarks.serve import BODIES, fill, serving
from benchmarks.server_clients import ways_to_send
from ingest.transfer import LoadOptions, push
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Collection
from retrieval.index.schema import collection_name
from retrieval.index.server.http import ServerClient
from retrieval.index.server.index import ServerIndex

_SERVICE_MODEL = "phantom-siglip"
_CLIENTS = 8
_ROUNDS = 3


def main() -> None:
    """Measure all in one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="address of the server")
    parser.add_argument("--dim", type=int, default=1152, help="length of the vectors (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="timed searches (default: %(default)s)")
    parser.add_argument("--large", type=int, default=100_000, help="images of the large collection; 0 skips it")
    parser.add_argument("--large-dim", type=int, default=512, help="length of its vectors (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=2000, help="requests to the service per round")
    parser.add_argument("--folder", type=Path, help="keep the collections here, and use those that are there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = arguments.folder or Path(temporary)
        if not (root / "indiana").exists():
            sizes = (arguments.dim, arguments.large, arguments.large_dim, arguments.queries)
            made = get_context("spawn").Process(target=make_collections, args=(root, *sizes))
            made.start()
            made.join()
        found = {"indiana": compare(root / "indiana", arguments.server, clients=True)}
        if arguments.large:
            found["large"] = compare(root / "large", arguments.server, clients=False)
        service = compare_service(Path(temporary), arguments.server, arguments.requests)
    write_result("server", {"filters": FILTERS.to_dict(), **found, "service": service})


@contextmanager
def pushed(original: Collection, server: str) -> Iterator[tuple[ServerIndex, Collection]]:
    """`original`, copied to the server as by `cxr push`; dropped afterwards."""
    index = ServerIndex.connect(server, api_key=None, timeout_s=600)
    try:
        push(original, index, LoadOptions(recreate=True))
        yield index, index.open(original.name)
        index.drop(original.name)
    finally:
        index.close()


def compare(folder: Path, server: str, *, clients: bool) -> dict[str, Any]:
    """Times on both engines, ratios, requests per search; with `clients` also the ways to send a search."""
    asked = read_asked(folder)
    embedded = EdgeIndex(folder / "index")
    edge = embedded.open(collection_name(MODEL))
    with pushed(edge, server) as (_, remote):
        engines: dict[str, Searches] = {"embedded": searches_of(edge, asked), "server": searches_of(remote, asked)}
        figures = in_turn(engines)
        found = {
            "points": remote.count(),
            "dim": edge.meta.dim,
            "engines": figures,
            "ratios_p50": {
                name: round(figures["server"][name]["p50_ms"] / figures["embedded"][name]["p50_ms"], 2)
                for name in figures["server"]
            },
            "requests_per_search": {name: count_requests(searches) for name, searches in engines["server"].items()},
            "equal_answers": equal_answers(engines),
        }
        if clients:
            found["ways_to_send"] = ways_to_send(server, remote, asked)
    embedded.close()
    return found


def count_requests(searches: list[Any]) -> dict[str, int]:
    """Searches by the number of requests that they take."""
    taken: Counter[str] = Counter()
    for search in searches[:50]:
        with patch.object(ServerClient, "call", autospec=True, side_effect=ServerClient.call) as call:
            search()
        taken[str(call.call_count)] += 1
    return dict(taken)


def equal_answers(engines: dict[str, Any]) -> dict[str, float]:
    """Share of searches with the same hits in the same order on both engines."""
    found = {}
    for name, searches in engines["embedded"].items():
        pairs = zip(searches[:50], engines["server"][name][:50], strict=True)
        found[name] = float(
            np.mean([[h.point_id for h in one()] == [h.point_id for h in other()] for one, other in pairs])
        )
    return found


def compare_service(folder: Path, server: str, requests: int) -> dict[str, Any]:
    """Requests per second of the service with 8 clients, on both engines in turn."""
    home = folder / "service"
    home.mkdir()
    fill(home, _SERVICE_MODEL, folder)
    embedded = EdgeIndex(home / "index")
    rounds: dict[str, list[dict[str, Any]]] = {"embedded": [], "server": []}
    with pushed(embedded.open(collection_name(_SERVICE_MODEL)), server) as (index, _):
        embedded.close()
        index.activate(collection_name(_SERVICE_MODEL))
        for _ in range(_ROUNDS):
            for engine, address in (("embedded", str(home / "index")), ("server", server)):
                with patch.dict(os.environ, CXR_INDEX=address), serving(home) as (port, _):
                    send(port, BODIES, clients=_CLIENTS, requests=requests // 4)
                    rounds[engine].append(send(port, BODIES, clients=_CLIENTS, requests=requests).summary())
    rates = {engine: [each["requests_per_s"] for each in found] for engine, found in rounds.items()}
    median = {engine: float(np.median(found)) for engine, found in rates.items()}
    return {
        "model": _SERVICE_MODEL,
        "clients": _CLIENTS,
        "requests_per_s": rates,
        "server_over_embedded": round(median["server"] / median["embedded"], 3),
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
