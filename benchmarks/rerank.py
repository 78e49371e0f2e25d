"""Measures rerank, diversity, keyword search and fusion: labelled retrieval on a split of the Indiana collection.

    python -m benchmarks.rerank indiana-clip --data ../shared/indiana

Queries are the split's frontal images that have an abnormal finding: as a new image, as the impression written of them,
and as the stored study with its report and terms. The gallery is all frontal images of the split except those of the query's
study. An image is relevant for a finding of the query if it has the same finding. Labels are those of the indexing, heads
with at least five images. AP@100, P@10 and nDCG@10 are averaged within each finding, then over findings. Each row is
compared with a simpler one: the difference, with a 95 % interval by bootstrap over studies.

`reads` names the data of the candidates that a row uses. The labels were made from the reports, so rows that read `reports`
have an advantage. Rows that read `labels` are circular: the terms of a stored study, or the findings in a text, are compared
with the indexing of the candidates. They show that the terms work, not the model.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ir_measures
import numpy as np
from numpy.typing import NDArray

from benchmarks.indiana import add_data_option, indiana_source
from benchmarks.pair_retrieval import NOT_FINDINGS
from benchmarks.result_file import write_result
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.schema import collection_name
from retrieval.labels import read_indexing
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.records import ImageRecord, Source, Study, studies_of
from retrieval.search.query import Case, Query
from retrieval.search.retriever import Retriever
from retrieval.settings import RetrievalSettings

MEASURES = {"AP@100": ir_measures.AP @ 100, "P@10": ir_measures.P @ 10, "nDCG@10": ir_measures.nDCG @ 10}
FEWEST_IMAGES = 5
RESAMPLES = 2000

Options = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One way to search: name, data of the candidates it uses, query options, and the row it is compared with."""

    name: str
    reads: Literal["images", "reports", "labels"]
    options: Options
    beside: str | None = None


MMR = {"diversity": 0.3}
NO_TERMS = {"rerank": {"image": 0.30, "findings": 0.25, "impression": 0.20}}
ROWS: dict[str, list[Row]] = {
    "new image": [
        Row("visual", "images", {"rerank": "none"}),
        Row("signals", "reports", {}, "visual"),
        Row("signals + MMR", "reports", MMR, "signals"),
    ],
    "stored study": [
        Row("visual", "images", {"rerank": "none"}),
        Row("vectors only", "reports", NO_TERMS, "visual"),
        Row("signals", "labels", {}, "vectors only"),
        Row("signals + MMR", "labels", MMR, "signals"),
    ],
    "impression": [
        Row("visual", "images", {"rerank": "none"}),
        Row("vectors only", "reports", NO_TERMS, "visual"),
        Row("signals", "labels", {}, "vectors only"),
        Row("signals + MMR", "labels", MMR, "signals"),
        Row("BM25", "reports", {"rerank": "none", "match": "bm25"}, "visual"),
        Row("hybrid", "reports", {"rerank": "none", "match": "hybrid"}, "BM25"),
        Row("hybrid, vectors only", "reports", {"match": "hybrid", **NO_TERMS}, "hybrid"),
        Row("hybrid, signals", "labels", {"match": "hybrid"}, "hybrid"),
    ],
}


def main() -> None:
    """Measure all rows with the bundle named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="name of an installed bundle")
    add_data_option(parser)
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    source = indiana_source(arguments.data, arguments.split)
    encoder = Encoder(find_bundle(arguments.bundle, RetrievalSettings().models_dir))
    with collection_of(encoder, source) as retriever:
        queries = Queries(list(studies_of(source)))
        found = {kind: measure_rows(retriever, queries, kind) for kind in ROWS}
    bundle = encoder.bundle
    write_result(
        f"rerank_{bundle.name}_{arguments.split}",
        {
            "protocol": "frontal images; own study left out; macro over findings; labels from the indexing",
            "bundle": bundle.name,
            "bundle_id": bundle.bundle_id,
            "split": arguments.split,
            "queries": len(queries.pairs),
            "findings": len(queries.findings),
            "chance_P": queries.chance(),
            **found,
        },
    )


@contextmanager
def collection_of(encoder: Encoder, source: Source) -> Iterator[Retriever]:
    """A retriever on a new collection of `source`."""
    with tempfile.TemporaryDirectory() as folder:
        index = EdgeIndex(Path(folder) / "index")
        Worker(encoder, index).run(source)
        yield Retriever(encoder, index.open(collection_name(encoder.bundle.name)))
        index.close()


class Queries:
    """The frontal images, which are queries and gallery, with their findings."""

    def __init__(self, studies: list[Study]) -> None:
        every = [(study, image) for study in studies for image in study.images if image.view == "frontal"]
        heads = [set(read_indexing(study.mesh, study.problems).problems) - NOT_FINDINGS for study, _ in every]
        counts = {head: sum(head in each for each in heads) for head in set().union(*heads)}
        self.findings = sorted(head for head, count in counts.items() if count >= FEWEST_IMAGES)
        self.gallery = {
            image.image_id: each & set(self.findings) for (_, image), each in zip(every, heads, strict=True)
        }
        self.studies = {image.image_id: study.study_id for study, image in every}
        self.pairs = [(study, image) for study, image in every if self.gallery[image.image_id]]

    def qrels(self) -> list[Any]:
        """Relevance of gallery images for each query and finding, by `<finding>|<image of the query>`."""
        return [
            ir_measures.Qrel(f"{finding}|{image.image_id}", other, 1)
            for study, image in self.pairs
            for finding in self.gallery[image.image_id]
            for other, held in self.gallery.items()
            if finding in held and self.studies[other] != study.study_id
        ]

    def table(self, values: dict[str, float]) -> NDArray[np.float64]:
        """`values` by `<finding>|<image>` as [queries, findings]; NaN if a query does not have the finding."""
        table = np.full((len(self.pairs), len(self.findings)), np.nan)
        for row, (_, image) in enumerate(self.pairs):
            for column, finding in enumerate(self.findings):
                table[row, column] = values.get(f"{finding}|{image.image_id}", np.nan)
        return table

    def chance(self) -> float:
        """P@K of a random order: the share of relevant images, averaged like the measures."""
        shares = {}
        for study, image in self.pairs:
            others = [held for name, held in self.gallery.items() if self.studies[name] != study.study_id]
            for finding in self.gallery[image.image_id]:
                shares[f"{finding}|{image.image_id}"] = sum(finding in held for held in others) / len(others)
        return round(float(macro(self.table(shares), np.ones(len(self.pairs)))), 4)


def measure_rows(retriever: Retriever, queries: Queries, kind: str) -> dict[str, Any]:
    """The measures of each row for one kind of query, and the difference from the row it is compared with."""
    qrels = queries.qrels()
    tables: dict[str, dict[str, NDArray[np.float64]]] = {}
    found: dict[str, Any] = {}
    for row in ROWS[kind]:
        run = run_row(retriever, queries, kind, row)
        by_measure: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
        names = {str(measure): name for name, measure in MEASURES.items()}
        for value in ir_measures.iter_calc(list(MEASURES.values()), qrels, run):
            by_measure[names[str(value.measure)]][value.query_id] = value.value
        tables[row.name] = {name: queries.table(values) for name, values in by_measure.items()}
        ones = np.ones(len(queries.pairs))
        found[row.name] = {
            **{name: round(float(macro(table, ones)), 4) for name, table in tables[row.name].items()},
            "reads": row.reads,
        }
        if row.beside:
            found[row.name]["beside"] = row.beside
            found[row.name]["difference"] = {
                name: difference(queries, tables[row.name][name], tables[row.beside][name]) for name in MEASURES
            }
        print(kind, row.name, found[row.name], flush=True)
    return found


def run_row(retriever: Retriever, queries: Queries, kind: str, row: Row) -> list[Any]:
    """The hits of each query, once for each of its findings."""
    run = []
    for study, image in queries.pairs:
        asked = query_of(kind, study, image)
        filters = Filters(view="frontal", exclude_studies=(study.study_id,))
        hits = [] if asked is None else retriever.search(Query(**asked, filters=filters, k=100, **row.options)).hits
        for finding in queries.gallery[image.image_id]:
            name = f"{finding}|{image.image_id}"
            # Ranks as scores, so that the measures do not break ties again.
            run += [ir_measures.ScoredDoc(name, hit.image_id, -rank) for rank, hit in enumerate(hits)] or [
                ir_measures.ScoredDoc(name, "nothing", 0)
            ]
    return run


def query_of(kind: str, study: Study, image: ImageRecord) -> Options | None:
    """The query of `kind` for an image; None for a study without an impression."""
    match kind:
        case "new image":
            return {"image": image.path.read_bytes()}
        case "stored study":
            return {"study": Case(study_id=study.study_id, image_id=image.image_id)}
        case _:
            return {"text": study.report.impression} if study.report.impression else None


def macro(table: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Mean over findings of the weighted mean over queries. Findings with zero weight are left out."""
    known = ~np.isnan(table)
    total = weights @ known
    sums = weights @ np.where(known, table, 0.0)
    return float(np.mean(sums[total > 0] / total[total > 0]))


def difference(queries: Queries, mine: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """Difference of two rows, its 95 % interval by bootstrap over the queries' studies, and whether it is above 0."""
    studies = [study.study_id for study, _ in queries.pairs]
    position = {study_id: number for number, study_id in enumerate(dict.fromkeys(studies))}
    places = np.array([position[study_id] for study_id in studies])
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(len(position), size=len(position)), minlength=len(position))[places]
        differences.append(macro(mine, weights.astype(float)) - macro(other, weights.astype(float)))
    low, high = np.percentile(differences, [2.5, 97.5])
    ones = np.ones(len(places))
    return {
        "by": round(macro(mine, ones) - macro(other, ones), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "better": bool(low > 0),
    }


if __name__ == "__main__":
    main()
