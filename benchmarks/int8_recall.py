"""Measures recall of collections with int8 copies of their vectors, with the embeddings of real models.

    cxr ingest --model NAME …                       # for every model to measure
    python -m benchmarks.int8_recall --home HOME

Stored images and impressions are the queries; recall is that of `benchmarks.index`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import recalls
from benchmarks.result_file import write_result
from benchmarks.search import FILTERS
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection


def main() -> None:
    """Measure every embedded collection of a home that has int8 copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="the CXR_HOME into which the models were ingested")
    parser.add_argument("--queries", type=int, default=300, help="queries of each kind (default: %(default)s)")
    arguments = parser.parse_args()
    index = EdgeIndex(arguments.home / "index")
    found = {
        meta.model: measure(index.open(name), arguments.queries)
        for name, meta in index.collections().items()
        if meta.layout.quantization == "int8"
    }
    index.close()
    if not found:
        raise SystemExit(f"no collection with int8 copies in {arguments.home}; run `cxr ingest` first")
    write_result("int8_recall", {"filters": FILTERS.to_dict(), **found})


def measure(collection: Collection, queries: int) -> dict[str, Any]:
    """Recall by kind of query, among all images and among those that match the filter."""
    stored = list(collection.scroll(limit=None, vectors=("image", "impression")))
    asked = [stored[number] for number in np.random.default_rng(0).permutation(len(stored))[:queries]]
    found: dict[str, Any] = {"dim": collection.meta.dim, "images": len(stored)}
    for kind in ("image", "impression"):
        vectors = [point.vectors[kind] for point in asked if kind in point.vectors]
        found[kind] = {
            name: recalls(collection, vectors, filters) for name, filters in (("all", Filters()), ("filtered", FILTERS))
        }
    return found


if __name__ == "__main__":
    main()
