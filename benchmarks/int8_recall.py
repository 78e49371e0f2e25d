"""Whether collections with int8 copies of their vectors still find the nearest, with the embeddings of real models.

    cxr ingest --model NAME …                       # for every model that is to be looked at
    python -m benchmarks.int8_recall --home HOME

Stored images and impressions are the queries. Recall is the share of the nearest 10 or 100 images, by the vectors as half
precision holds them, that a search finds; one that is as near as the last of them counts, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import write_result
from retrieval.index.edge import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, SearchRequest, Stored, VectorSignal

_ROUNDING = 1e-5  # of a cosine in single precision
FILTERS = {"all": Filters(), "filtered": Filters(view="frontal", none=("Pneumothorax",))}


def main() -> None:
    """Measure every embedded collection of a home that has int8 copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="where models were ingested, as CXR_HOME")
    parser.add_argument("--queries", type=int, default=300, help="of each kind (default: %(default)s)")
    arguments = parser.parse_args()
    index = EdgeIndex(arguments.home / "index")
    found = {}
    for name, meta in index.collections().items():
        if meta.layout.quantization == "int8":
            found[meta.model] = {"dim": meta.dim, "images": sum(meta.counts.values())} | dict(
                recalls(index.open(name), arguments.queries)
            )
    index.close()
    if not found:
        raise SystemExit(f"no collection with int8 copies in {arguments.home}; run `cxr ingest` first")
    write_result("int8_recall", found)


def recalls(collection: Collection, queries: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Recall of the nearest 10 and 100, by kind of query and filter."""
    stored = list(collection.scroll(limit=None, vectors=("image", "impression")))
    asked = [stored[number] for number in np.random.default_rng(0).permutation(len(stored))[:queries]]
    for kind in ("image", "impression"):
        vectors = [point.vectors[kind] for point in asked if kind in point.vectors]
        for name, filters in FILTERS.items():
            allowed = np.stack([point.vectors["image"] for point in stored if obeys(point, filters)])
            yield (
                f"{kind}, {name}",
                {
                    f"recall_at_{k}": round(
                        float(np.mean([recall(collection, allowed, vector, filters, k) for vector in vectors])), 5
                    )
                    for k in (10, 100)
                },
            )


def obeys(point: Stored, filters: Filters) -> bool:
    """Whether a stored image obeys one of `FILTERS`."""
    named: list[Any] = [*point.payload["present"], *point.payload["uncertain"]]
    return filters.view in (None, point.payload["view"]) and not set(filters.none) & set(named)


def recall(
    collection: Collection, allowed: NDArray[np.float32], query: NDArray[np.float32], filters: Filters, k: int
) -> float:
    """Share of the `k` nearest of `allowed`, float32 [N, D], that a search for `query`, float32 [D], finds, 0..1."""
    nearest = np.sort(allowed @ query)[-k:]
    hits = collection.search(SearchRequest((VectorSignal("image", query, 1.0),), filters=filters, limit=k))
    return sum(hit.score >= nearest[0] - _ROUNDING for hit in hits) / len(nearest)


if __name__ == "__main__":
    main()
