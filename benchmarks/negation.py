"""Measures queries that deny findings: the share of the ten best hits that have the denied finding.

    python -m benchmarks.negation indiana-clip --data ../shared/indiana

Interpretation of the query is on and off in turn. The queries are in `negation_queries.csv`, the collection is the whole
Indiana archive. A hit violates a query if a denied finding is present or uncertain in its indexing or in its report. The
filter uses the same labels. With interpretation on, the figure therefore shows errors in reading queries; for errors of the
labels see `benchmarks.report_labels`. `unfiltered_rate` is the rate of random images.
"""

from __future__ import annotations

import argparse
import csv
from typing import Any

from benchmarks.indiana import add_data_option, indiana_source
from benchmarks.report_labels import TABLES
from benchmarks.rerank import collection_of
from benchmarks.result_file import write_result
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.search.hits import Hit
from retrieval.search.query import Query
from retrieval.search.retriever import Retriever
from retrieval.settings import RetrievalSettings

K = 10


def main() -> None:
    """Run every query with interpretation on and off, by dense and by hybrid search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="name of an installed bundle")
    add_data_option(parser)
    arguments = parser.parse_args()
    with (TABLES / "negation_queries.csv").open(encoding="utf-8", newline="") as file:
        probes = [row for row in csv.DictReader(file) if row["denied"]]
    encoder = Encoder(find_bundle(arguments.bundle, RetrievalSettings().models_dir))
    with collection_of(encoder, indiana_source(arguments.data)) as retriever:
        found = {
            match: {
                "interpreted": violations(retriever, probes, match=match, interpret=True),
                "literal": violations(retriever, probes, match=match, interpret=False),
            }
            for match in ("dense", "hybrid")
        }
        images = retriever.collection.count()
        chance = unfiltered_rate(retriever, probes)
    write_result("negation", {"bundle": arguments.bundle, "images": images, "unfiltered_rate": chance, **found})


def violations(retriever: Retriever, probes: list[dict[str, str]], **options: Any) -> dict[str, Any]:
    """Share of all top-10 hits that violate their query, and the queries with any such hit."""
    hits = wrong = 0
    by_query = {}
    for probe in probes:
        found = retriever.search(Query(text=probe["query"], k=K, **options)).hits
        bad = sum(violates(hit, probe) for hit in found)
        hits, wrong = hits + len(found), wrong + bad
        if bad:
            by_query[probe["query"]] = bad
    return {"queries": len(probes), "hits": hits, "violating": round(wrong / hits, 4), "by_query": by_query}


def violates(hit: Hit, probe: dict[str, str]) -> bool:
    """Whether a denied finding is present or uncertain."""
    return not {*hit.present, *hit.uncertain}.isdisjoint(probe["denied"].split(";"))


def unfiltered_rate(retriever: Retriever, probes: list[dict[str, str]]) -> float:
    """Share of pairs of probe and image that violate."""
    payloads = [point.payload for point in retriever.collection.scroll(limit=None)]
    held = [{*payload["present"], *payload["uncertain"]} for payload in payloads]
    shares = [sum(not names.isdisjoint(probe["denied"].split(";")) for names in held) / len(held) for probe in probes]
    return round(sum(shares) / len(shares), 4)


if __name__ == "__main__":
    main()
