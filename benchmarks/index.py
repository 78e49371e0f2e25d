"""Measures size, load time and search of embedded collections: Indiana at 1,152 dimensions, and 100,000 images.

    python -m benchmarks.index

Vectors of the Indiana collection are random around one centre per report, so that neighbours exist. Synthetic vectors lie
near a random subspace of 64 dimensions with decreasing variance, as embeddings do; twenty share a centre. (Without the
subspace a graph has no structure to follow and finds a third of the 100 nearest.) Payloads are those of the Indiana archive
(phantoms without it), repeated for the synthetic collection, which has the default layout. Recall compares a plain search
with the exact nearest neighbours in numpy, over vectors in half precision.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.result_file import write_result
from benchmarks.search import FILTERS, in_full, make_points, read_source, searches_of, synthetic, timed
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, IndexPoint
from retrieval.index.schema import CollectionLayout, CollectionMeta, Quantization, collection_name
from retrieval.index.search_request import SearchRequest, VectorSignal
from retrieval.search.calibration import calibrate

_ROUNDING = 1e-5  # of a cosine in single precision
# Part of a collection by a piece of a file's path; the first match counts.
PARTS = {
    "dense vectors": "vector_storage-",
    "search graphs": "vector_index-",
    "payload": "payload_storage",
    "payload indexes": "payload_index",
    "ids": "id_tracker",
}


def main() -> None:
    """Measure the size of the Indiana collection in each layout, then the large one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="points of the synthetic collection; 0 skips it")
    parser.add_argument("--queries", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        real = make_points(read_source(Path(folder)), 1152)
        layouts: tuple[Quantization, ...] = ("none", "int8")
        found: dict[str, Any] = {
            "indiana_1152": {
                layout: measure(Path(folder) / layout, iter(real), real, layout, arguments.queries)
                for layout in layouts
            }
        }
        if arguments.points:
            pattern = [replace(point, vectors={}) for point in real]
            kept: list[IndexPoint] = []
            large = synthetic(pattern, arguments.points, 512, kept)
            found["synthetic_512"] = {"int8": measure(Path(folder) / "large", large, kept, "int8", arguments.queries)}
    write_result("index", {"filters": FILTERS.to_dict(), **found})


def measure(
    folder: Path, points: Iterator[IndexPoint], kept: list[IndexPoint], layout: Quantization, queries: int
) -> dict[str, Any]:
    """Load `points` and search them; `kept` holds them all afterwards."""
    index = EdgeIndex(folder)
    dim = 0
    collection: Collection | None = None
    load_s = 0.0
    while batch := list(itertools.islice(points, 256)):
        started = time.perf_counter()
        if collection is None:
            dim = len(batch[0].vectors["image"])
            meta = CollectionMeta(model="bench", bundle_id="bench", dim=dim, created_at="")
            collection = index.create(meta, name=collection_name("bench"), layout=CollectionLayout(quantization=layout))
        collection.upsert(batch)
        load_s += time.perf_counter() - started
    assert collection is not None
    started = time.perf_counter()
    collection.optimize()
    optimize_s = time.perf_counter() - started
    collection.record(msgspec.structs.replace(collection.meta, calibration=calibrate(collection)))
    chosen = np.random.default_rng(1).choice([n for n, p in enumerate(kept) if len(p.vectors) == 3], queries + 10)
    asked = [in_full(kept[number]) for number in chosen]
    found: dict[str, Any] = {
        "points": len(kept),
        "dim": dim,
        "load_s": round(load_s, 1),
        "optimize_s": round(optimize_s, 1),
        "recall": {
            name: recalls(collection, [point.vectors["image"] for point in asked[:100]], narrow)
            for name, narrow in (("all", Filters()), ("frontal", Filters(view="frontal")))
        },
    }
    for name, searches in searches_of(collection, asked).items():
        found[f"{name}_filtered"] = timed(searches)
    index.close()
    return found | {"megabytes": sizes(folder)}


def recalls(collection: Collection, queries: Sequence[NDArray[np.float32]], filters: Filters) -> dict[str, float]:
    """Share (0..1) of the 10 and 100 nearest images that plain searches for `queries`, each [D], find, by `at_<k>`.

    An image that is as near as the last of the nearest counts, too.
    """
    allowed = collection.scroll(filters, limit=None, vectors=("image",))
    images = np.stack([stored.vectors["image"].astype(np.float16) for stored in allowed])
    shares: dict[int, list[float]] = {10: [], 100: []}
    for query in queries:
        in_half = query.astype(np.float16).astype(np.float32)  # as the engine compares it
        cosines = np.concatenate([part.astype(np.float32) @ in_half for part in np.array_split(images, 16)])
        for k, found in shares.items():
            least = np.partition(cosines, -k)[-k]
            request = SearchRequest((VectorSignal("image", query, 1.0),), filters=filters, limit=k)
            found.append(sum(hit.score >= least - _ROUNDING for hit in collection.search(request)) / k)
    return {f"at_{k}": round(float(np.mean(found)), 5) for k, found in shares.items()}


def sizes(folder: Path) -> dict[str, float]:
    """Megabytes on disk by part; holes of files do not count."""
    held: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            where = path.as_posix()
            if "bm25" in where:
                part = "BM25"
            elif "quantized" in where:
                part = "quantised vectors"
            else:
                part = next((name for name, mark in PARTS.items() if mark in where), "other")
            held[part] += path.stat().st_blocks * 512
    return {part: round(size / 1e6, 1) for part, size in held.most_common()} | {"total": round(held.total() / 1e6, 1)}


if __name__ == "__main__":
    main()
