"""Measures the latency of searches without encoding: Qdrant Edge and a plain script.

    python -m benchmarks.search

The collections have 6,677 and 100,000 (synthetic) images. Payloads are those of the Indiana archive (phantoms without it);
vectors are random around one centre per report group, so that neighbours exist. Both get the same requests: filtered
nearest neighbours, and the filtered five-signal rerank with the payload of ten hits. Edge and the script alternate every 50
requests, because the speed of a virtual machine changes from minute to minute. They run in a process that did not make the
points, like a service.
"""

from __future__ import annotations

import argparse
import itertools
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from archives.indiana import IndianaSource
from archives.phantoms import write_phantoms
from benchmarks.baseline_search import BaselineSearch, Row, frontal_without_pneumothorax, write_baseline_search
from benchmarks.indiana import FOLDER, indiana_source
from benchmarks.result_file import write_result
from ingest.labels.study import label_study
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import DENSE_VECTORS, CollectionMeta, Payload, collection_name
from retrieval.index.search_request import SearchRequest
from retrieval.records import point_id, studies_of
from retrieval.search.calibration import calibrate
from retrieval.search.query_vectors import QueryVectors, VectorExamples
from retrieval.search.rerank import plan

_PLANE = 64
_TURN = 50
MODEL = "bench"
_ASKED = "asked.pickle"
FILTERS = Filters(view="frontal", none=("Pneumothorax",))
Searches = dict[str, list[Callable[[], Sized]]]
"""Searches to time, by name."""


def main() -> None:
    """Measure all engines in one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=1152, help="length of the vectors (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=500, help="timed searches (default: %(default)s)")
    parser.add_argument("--large", type=int, default=100_000, help="images of the large collection; 0 skips it")
    parser.add_argument("--large-dim", type=int, default=512, help="length of its vectors (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sizes = (arguments.dim, arguments.large, arguments.large_dim, arguments.queries)
        made = get_context("spawn").Process(target=make_collections, args=(root, *sizes))
        made.start()
        made.join()
        if made.exitcode:
            sys.exit("the collections were not made; the reason stands above")
        large = {"large": compare(root / "large")} if arguments.large else {}
        found = {"indiana": compare(root / "indiana"), **large}
    write_result("search", {"filters": FILTERS.to_dict(), **found})


def make_collections(root: Path, dim: int, large: int, large_dim: int, queries: int) -> None:
    """Write collections of all sizes, each for Edge and for the script, and the points of the queries."""
    points = make_points(read_source(root), dim)
    write_both(root / "indiana", points, queries)
    if large:
        pattern = [replace(point, vectors={}) for point in points]
        del points
        kept: list[IndexPoint] = []
        for _ in synthetic(pattern, large, large_dim, kept):
            pass
        write_both(root / "large", kept, queries)


def write_both(folder: Path, points: list[IndexPoint], queries: int) -> None:
    """Write the points to an Edge index and to the files of the script, and save those of the queries."""
    folder.mkdir()
    with_all = [number for number, point in enumerate(points) if len(point.vectors) == 3]
    asked = [in_full(points[number]) for number in np.random.default_rng(1).choice(with_all, queries + _TURN)]
    (folder / _ASKED).write_bytes(pickle.dumps(asked))
    index = EdgeIndex(folder / "index")
    dim = len(asked[0].vectors["image"])
    load(index, CollectionMeta(model=MODEL, bundle_id="bench", dim=dim, created_at=""), points)
    index.close()
    write_baseline_search(folder, points)


def compare(folder: Path) -> dict[str, Any]:
    """Times of both on the files of `write_both` in `folder`, with their ratios."""
    asked = read_asked(folder)
    index = EdgeIndex(folder / "index")
    edge = index.open(collection_name(MODEL))
    script = BaselineSearch(folder)
    figures = in_turn({"edge": searches_of(edge, asked), "plain_script": script_searches_of(script, asked)})
    ratio = figures["plain_script"]["five_signals"]["p50_ms"] / figures["edge"]["five_signals"]["p50_ms"]
    ratios = {"script_over_edge": round(ratio, 2)}
    found = {"points": edge.count(), "dim": edge.meta.dim, "engines": figures, "ratios_p50": ratios}
    index.close()
    return found


def read_asked(folder: Path) -> list[IndexPoint]:
    """The points that `write_both` saved for the queries."""
    asked: list[IndexPoint] = pickle.loads((folder / _ASKED).read_bytes())
    return asked


def read_source(folder: Path) -> IndianaSource:
    """The Indiana archive, or the same number of phantoms."""
    if FOLDER.is_dir():
        return indiana_source()
    files = write_phantoms(folder / "phantoms", 3500, seed=3)
    return IndianaSource(files.reports_csv, files.projections_csv, files.images_dir)


def make_points(source: IndianaSource, dim: int) -> list[IndexPoint]:
    """Points with real payloads and random unit vectors around one centre per report."""
    rng = np.random.default_rng(0)
    points = []
    for study in studies_of(source):
        labels = label_study(study.mesh, study.problems, study.report.findings, study.report.impression)
        centre = np.random.default_rng(int(study.report.group or "0", 16)).standard_normal(dim)
        texts = [name for name in ("findings", "impression") if getattr(study.report, name)]
        for image in study.images:
            vectors = {}
            for name in ("image", *texts):
                vector = centre + 2 * rng.standard_normal(dim)
                vectors[name] = (vector / np.linalg.norm(vector)).astype(np.float32)
            labelled: dict[str, Any] = {field.name: list(getattr(labels, field.name)) for field in fields(labels)}
            payload = Payload(
                study_id=study.study_id,
                image_id=image.image_id,
                dataset=study.dataset,
                view=image.view,
                report_group=study.report.group,
                image_sha256="0" * 64,
                bundle_id="bench",
                ingested_at="",
                **labelled,
                **{
                    name: getattr(study.report, name) for name in ("findings", "impression", "indication", "comparison")
                },
            )
            points.append(IndexPoint(point_id(study.dataset, image.image_id), vectors, payload.report_text, payload))
    return points


def synthetic(pattern: list[IndexPoint], count: int, dim: int, kept: list[IndexPoint]) -> Iterator[IndexPoint]:
    """`count` points with the payloads of `pattern` repeated and new study ids; `kept` collects them."""
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.standard_normal((dim, _PLANE)))[0].T.astype(np.float32)
    plane *= np.arange(1, _PLANE + 1, dtype=np.float32)[:, None] ** -0.5
    centres = rng.standard_normal((count // 20 + 1, _PLANE)).astype(np.float32)
    for number, like in zip(range(count), itertools.cycle(pattern), strict=False):
        name = f"synthetic-{number}"
        payload = msgspec.structs.replace(like.payload, image_id=name, study_id=f"{name[:-1]}")
        vectors = {}
        for which in DENSE_VECTORS:
            along = centres[number // 20] + 0.5 * rng.standard_normal(_PLANE, dtype=np.float32)
            vector = along @ plane + 0.02 * rng.standard_normal(dim, dtype=np.float32)
            vectors[which] = vector / np.linalg.norm(vector)
        point = IndexPoint(point_id("synthetic", name), vectors, like.text, payload)
        kept.append(replace(point, vectors={name: vector.astype(np.float16) for name, vector in vectors.items()}))
        yield point


def load(index: Index, meta: CollectionMeta, points: list[IndexPoint]) -> Collection:
    """The points in a calibrated collection of `index`."""
    collection = index.create(meta, name=collection_name(meta.model))
    for start in range(0, len(points), 256):
        collection.upsert([in_full(point) for point in points[start : start + 256]])
    collection.optimize()
    collection.record(msgspec.structs.replace(meta, calibration=calibrate(collection)))
    return collection


def in_full(point: IndexPoint) -> IndexPoint:
    """The point with float32 vectors, as in queries."""
    return replace(point, vectors={name: vector.astype(np.float32) for name, vector in point.vectors.items()})


def searches_of(collection: Collection, asked: list[IndexPoint]) -> Searches:
    """Filtered searches for the studies of `asked`, by name."""
    return {
        search: [partial(collection.search, request_for(point, collection, rerank)) for point in asked]
        for search, rerank in (("nearest", "none"), ("five_signals", "signals"))
    }


def script_searches_of(script: BaselineSearch, asked: list[IndexPoint]) -> Searches:
    """The same searches of the plain script, with its filter after the search and without one."""
    searches = {"five_signals": frontal_without_pneumothorax, "five_signals_unfiltered": lambda _: True}
    return {name: [partial(_ask_script, script, point, keeps) for point in asked] for name, keeps in searches.items()}


def _ask_script(script: BaselineSearch, point: IndexPoint, keeps: Callable[[Row], bool]) -> list[Any]:
    terms = {"mesh": point.payload.mesh, "problems": point.payload.problems}
    return script.search(point.vectors, terms, keeps)


def request_for(point: IndexPoint, collection: Collection, rerank: Any) -> SearchRequest:
    """The engine request of `Retriever.search_similar` for the study of this point."""
    kinds: dict[str, Any] = {name: "image" if name == "image" else "text" for name in point.vectors}
    query = QueryVectors(
        vectors={name: VectorExamples(((kinds[name], vector),)) for name, vector in point.vectors.items()},
        terms={"mesh": tuple(point.payload.mesh), "problems": tuple(point.payload.problems)},
    )
    filters = msgspec.structs.replace(FILTERS, exclude_studies=(point.payload.study_id,))
    return plan(query, collection.meta.calibration, SearchRequest((), filters=filters, limit=10), rerank=rerank)


def in_turn(engines: dict[str, Searches]) -> dict[str, dict[str, Any]]:
    """Milliseconds per search by engine and kind, which alternate. The first turn of each is not counted."""
    timers = {(engine, name): Timer() for engine, searches in engines.items() for name in searches}
    longest = max(len(searches) for named in engines.values() for searches in named.values())
    for start in range(0, longest, _TURN):
        for (engine, name), timer in timers.items():
            for search in engines[engine][name][start : start + _TURN]:
                timer.run(search, measured=start > 0)
    return {engine: {name: timers[engine, name].figures() for name in searches} for engine, searches in engines.items()}


def timed(searches: Sequence[Callable[[], Sized]]) -> dict[str, float]:
    """Milliseconds per search, with the payload of ten hits. The first ten are not counted."""
    timer = Timer()
    for number, search in enumerate(searches):
        timer.run(search, measured=number >= 10)
    return timer.figures()


class Timer:
    """Collects milliseconds per search."""

    def __init__(self) -> None:
        self._elapsed_ms: list[float] = []
        self._hits = 0

    def run(self, search: Callable[[], Sized], *, measured: bool) -> None:
        """Run a search; count it if `measured`."""
        start = time.perf_counter()
        hits = search()
        elapsed_ms = (time.perf_counter() - start) * 1000
        if measured:
            self._elapsed_ms.append(elapsed_ms)
            self._hits += len(hits)

    def figures(self) -> dict[str, float]:
        """Percentiles of the measured times."""
        p50, p95, p99 = np.percentile(self._elapsed_ms, [50, 95, 99])
        return {
            "p50_ms": round(float(p50), 3),
            "p95_ms": round(float(p95), 3),
            "p99_ms": round(float(p99), 3),
            "searches": len(self._elapsed_ms),
            "hits_per_search": round(self._hits / len(self._elapsed_ms), 1),
        }


if __name__ == "__main__":
    main()
