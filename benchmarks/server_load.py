"""Measures the load of a Qdrant server beside the embedded index: rate over size, time of the end, disk and memory.

    python -m benchmarks.server_load --server http://127.0.0.1:6333

The server runs on the same machine; the collection that is made there is dropped again. Each block of images goes into the
embedded index, then onto the server, through the calls of `cxr push`: pages of the same size, as many at once as the engine
takes. Points have three vectors, the reports and payloads of the Indiana archive (phantoms without it), repeated, and BM25
terms. `--pid` is the server process, for its memory; `--storage` the folder of its data, for the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from benchmarks.result_file import write_result
from benchmarks.search import make_points, read_source
from ingest.concurrency import map_in_order
from ingest.copied_points import pages
from retrieval.disk_space import extent_of
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import DENSE_VECTORS, CollectionLayout, CollectionMeta, collection_name
from retrieval.index.server.index import ServerIndex
from retrieval.index.server.replicas import missing_graphs
from retrieval.progress import NoProgress
from retrieval.records import point_id

_MODEL = "bench-load"
# Vectors are taken from a pool of so many: what they hold does not matter for a load without graphs.
_POOL = 20_000


def main() -> None:
    """Load both engines block by block, then end the load."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="address of the server")
    parser.add_argument("--points", type=int, default=300_000, help="images in all (default: %(default)s)")
    parser.add_argument("--block", type=int, default=50_000, help="images of a block (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=512, help="length of the vectors (default: %(default)s)")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--no-embedded", action="store_true", help="load the server alone")
    parser.add_argument("--no-end", action="store_true", help="leave out the end: merging and graphs")
    parser.add_argument("--pid", type=int, help="process of the server")
    parser.add_argument("--storage", type=Path, help="folder of the server's data")
    arguments = parser.parse_args()
    server = ServerIndex.connect(arguments.server, api_key=None, timeout_s=600, patience_s=600)
    with tempfile.TemporaryDirectory() as folder:
        layout = CollectionLayout(shards=arguments.shards, replicas=arguments.replicas)
        engines = {"server": make(server, arguments.dim, layout)}
        if not arguments.no_embedded:
            engines = {"embedded": make(EdgeIndex(Path(folder) / "index"), arguments.dim, CollectionLayout())} | engines
        for collection in engines.values():
            collection.begin_load(arguments.points)
        pattern = make_points(read_source(Path(folder)), 8)
        blocks = load_blocks(engines, pattern, arguments.points, arguments.block, arguments.dim)
        found: dict[str, Any] = {"dim": arguments.dim, "points": arguments.points, "blocks": blocks, **summary(blocks)}
        found["after_load"] = footprint(arguments.pid, arguments.storage)
        if not arguments.no_end:
            found["end_s"] = {name: timed_end(collection) for name, collection in engines.items()}
            found["after_end"] = footprint(arguments.pid, arguments.storage)
            client = server._client
            found["missing_graphs"] = [str(each) for each in missing_graphs(client, engines["server"].name, 10_000)]
        server.drop(collection_name(_MODEL))
        server.close()
    write_result("server_load", found)


def make(index: Index, dim: int, layout: CollectionLayout) -> Collection:
    """A new collection."""
    name = collection_name(_MODEL)
    if name in index.collections():
        index.drop(name)
    return index.create(CollectionMeta(model=_MODEL, bundle_id="b", dim=dim, created_at=""), name=name, layout=layout)


def load_blocks(
    engines: dict[str, Collection], pattern: list[IndexPoint], count: int, block: int, dim: int
) -> list[dict[str, float]]:
    """Seconds of each block by engine."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((_POOL, dim), dtype=np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    blocks = []
    for start in range(0, count, block):
        seconds = {}
        for name, collection in engines.items():
            points = synthetic(pattern, range(start, min(start + block, count)), pool)
            started = time.perf_counter()
            with closing(map_in_order(collection.upsert, pages(points), collection.writers)) as written:
                for _ in written:
                    pass
            seconds[name] = round(time.perf_counter() - started, 2)
        blocks.append(seconds)
        print(f"{start + block:,}: {seconds}", flush=True)
    return blocks


def synthetic(pattern: list[IndexPoint], numbers: range, pool: np.ndarray) -> Iterator[IndexPoint]:
    """Points `numbers`: payload and text of `pattern`, vectors of `pool`; those without a text lack its vector."""
    for number in numbers:
        like = pattern[number % len(pattern)]
        image = f"load-{number}"
        payload = msgspec.structs.replace(like.payload, image_id=image, study_id=f"load-{number // 2}")
        vectors = {
            name: pool[(number * 3 + which) % len(pool)]
            for which, name in enumerate(DENSE_VECTORS)
            if name in like.vectors
        }
        yield replace(like, point_id=point_id("load", image), vectors=vectors, payload=payload)


def summary(blocks: list[dict[str, float]]) -> dict[str, Any]:
    """The whole load: the server's rate as a share of the embedded one, and how flat each rate is."""
    flat = {name: round(blocks[-1][name] / blocks[0][name], 2) for name in blocks[0]}
    found: dict[str, Any] = {"last_over_first": flat}
    if "embedded" in flat:
        totals = {name: sum(block[name] for block in blocks) for name in flat}
        found["rate_over_embedded"] = round(totals["embedded"] / totals["server"], 2)
    return found


def timed_end(collection: Collection) -> float:
    """Seconds until all is merged and has its graphs."""
    started = time.perf_counter()
    collection.optimize(NoProgress())
    return round(time.perf_counter() - started, 1)


def footprint(pid: int | None, storage: Path | None) -> dict[str, float]:
    """Megabytes that the server holds in memory and on disk, as far as known."""
    found: dict[str, float] = {}
    if pid:
        memory = psutil.Process(pid).memory_info()
        maps = len(Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines())
        found |= {"resident_mb": round(memory.rss / 1e6), "anonymous_mb": round((memory.rss - memory.shared) / 1e6)}
        found |= {"memory_maps": maps}
    if storage:
        found["disk_mb"] = round(extent_of(storage).allocated / 1e6)
    return found


if __name__ == "__main__":
    main()
