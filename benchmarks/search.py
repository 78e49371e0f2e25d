"""Latency of a filtered five-signal search on the 6,677-image collection, without the encode.

    python -m benchmarks.search --dim 512

Payloads are those of the Indiana archive (phantoms where it is absent); vectors are random around one centre per report
group, so that neighbours exist. The same requests go to Qdrant Edge and to qdrant-client's local mode.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from qdrant_client import QdrantClient

from benchmarks.record import write_result
from ingest.sources.indiana import IndianaSource
from ingest.sources.phantom import write_phantoms
from retrieval.calibration import calibrate
from retrieval.index.edge import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index, IndexPoint, SearchRequest
from retrieval.index.schema import CollectionMeta, Payload, collection_name
from retrieval.index.server import ServerIndex
from retrieval.labels import read_labels
from retrieval.records import point_id, studies_of
from retrieval.rerank import QuerySides, Side, plan

FILTERS = Filters(view="frontal", none=("Pneumothorax",))


def main() -> None:
    """Measure both engines in one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=512, help="length of the vectors")
    parser.add_argument("--queries", type=int, default=500, help="timed searches on Edge; a tenth of it on local mode")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="Payload indexes have no effect")
    with tempfile.TemporaryDirectory() as folder:
        points = make_points(read_source(Path(folder)), arguments.dim)
        meta = CollectionMeta(model="bench", bundle_id="bench", dim=arguments.dim, created_at="")
        engines: dict[str, tuple[Index, int]] = {
            "edge": (EdgeIndex(Path(folder) / "index"), arguments.queries),
            "qdrant_client_local": (
                ServerIndex(QdrantClient(":memory:"), "local mode"),
                max(20, arguments.queries // 10),
            ),
        }
        figures = {name: measure(index, meta, points, count) for name, (index, count) in engines.items()}
    ratio = {
        search: figures["qdrant_client_local"][search]["p50_ms"] / figures["edge"][search]["p50_ms"]
        for search in ("nearest", "five_signals")
    }
    write_result(
        "search",
        {
            "points": len(points),
            "dim": arguments.dim,
            "filters": FILTERS.to_dict(),
            "engines": figures,
            "local_over_edge_p50": {search: round(value, 1) for search, value in ratio.items()},
        },
    )


def read_source(folder: Path) -> IndianaSource:
    """The Indiana archive, or as many phantoms."""
    indiana = Path(os.environ.get("CXR_INDIANA_DIR", "../shared/indiana"))
    if indiana.is_dir():
        return IndianaSource(indiana / "indiana_reports.csv", indiana / "indiana_projections.csv", indiana / "images")
    files = write_phantoms(folder / "phantoms", 3500, seed=3)
    return IndianaSource(files.reports_csv, files.projections_csv, files.images_dir)


def make_points(source: IndianaSource, dim: int) -> list[IndexPoint]:
    """Points with real payloads and random unit vectors: noise around a centre of the report's own."""
    rng = np.random.default_rng(0)
    points = []
    for study in studies_of(source):
        labels = read_labels(study.mesh, study.problems)
        centre = np.random.default_rng(int(study.report.group or "0", 16)).standard_normal(dim)
        texts = [name for name in ("findings", "impression") if getattr(study.report, name)]
        for image in study.images:
            vectors = {}
            for name in ("image", *texts):
                vector = centre + 2 * rng.standard_normal(dim)
                vectors[name] = (vector / np.linalg.norm(vector)).astype(np.float32)
            payload = Payload(
                study_id=study.study_id,
                image_id=image.image_id,
                dataset=study.dataset,
                view=image.view,
                report_group=study.report.group,
                image_sha256="0" * 64,
                bundle_id="bench",
                ingested_at="",
                **{
                    name: list(getattr(labels, name)) for name in ("present", "uncertain", "absent", "problems", "mesh")
                },
                **{
                    name: getattr(study.report, name) for name in ("findings", "impression", "indication", "comparison")
                },
            )
            text = f"{study.report.findings} {study.report.impression}".strip()
            points.append(IndexPoint(point_id(study.dataset, image.image_id), vectors, text, payload))
    return points


def measure(index: Index, meta: CollectionMeta, points: list[IndexPoint], queries: int) -> dict[str, Any]:
    """Load the points, then time plain and five-signal searches for stored studies."""
    name = collection_name(meta.model)
    collection = index.create(meta, name=name)
    started = time.perf_counter()
    for start in range(0, len(points), 256):
        collection.upsert(points[start : start + 256])
    loaded = time.perf_counter()
    collection.optimize()
    optimized = time.perf_counter()
    collection.record(msgspec.structs.replace(meta, calibration=calibrate(collection)))
    chosen = np.random.default_rng(1).choice([n for n, p in enumerate(points) if len(p.vectors) == 3], queries + 10)
    figures: dict[str, Any] = {"load_s": round(loaded - started, 2), "optimize_s": round(optimized - loaded, 2)}
    for search, rerank in (("nearest", "none"), ("five_signals", "signals")):
        requests = [request_for(points[n], collection, rerank) for n in chosen]
        figures[search] = timed(collection, requests)
    index.close()
    return figures


def request_for(point: IndexPoint, collection: Collection, rerank: Any) -> SearchRequest:
    """What `Retriever.search_similar` asks of the engine for this point's study."""
    kinds: dict[str, Any] = {name: "image" if name == "image" else "text" for name in point.vectors}
    sides = QuerySides(
        vectors={name: Side(((kinds[name], vector),)) for name, vector in point.vectors.items()},
        terms={"mesh": tuple(point.payload.mesh), "problems": tuple(point.payload.problems)},
    )
    filters = msgspec.structs.replace(FILTERS, exclude_studies=(point.payload.study_id,))
    return plan(sides, collection.meta.calibration, SearchRequest((), filters=filters, limit=10), rerank=rerank)


def timed(collection: Collection, requests: list[SearchRequest]) -> dict[str, float]:
    """Milliseconds per search, payload of ten hits included; the first ten warm up."""
    elapsed = []
    for number, request in enumerate(requests):
        start = time.perf_counter()
        hits = collection.search(request)
        if number >= 10:
            elapsed.append((time.perf_counter() - start) * 1000)
        assert len(hits) == request.limit
    p50, p95 = np.percentile(elapsed, [50, 95])
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3), "searches": len(elapsed)}


if __name__ == "__main__":
    main()
