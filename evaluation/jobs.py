"""One evaluation as a job for a process of its own, so that its memory is its own and no index is held meanwhile."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import msgspec

from archives.indiana import IndianaSource
from evaluation.evaluate import evaluate
from evaluation.results import Build, Evaluation, Protocol, read_evaluation
from ingest.ledger.queries import build_of
from ingest.worker import Worker
from retrieval.index import open_index
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import collection_name
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.search.retriever import Retriever
from retrieval.settings import RetrievalSettings


@dataclass(frozen=True, slots=True)
class Job:
    """One model to be evaluated. `data` is an archive that is ingested into `scratch` first; None takes the collection."""

    model: str
    settings: RetrievalSettings
    protocol: Protocol
    studies: frozenset[str] | None
    data: Path | None = None
    scratch: Path | None = None


def run_apart(jobs: Sequence[Job], report: Callable[[str, str], None]) -> list[Evaluation]:
    """Run each job in a fresh process, one after the other.

    `report(model, step)` is called in those processes, so it must be a function of a module.

    Raises:
        RetrievalError: what a job raised.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return [
            read_evaluation(content, "the process's answer") for content in pool.map(_run_encoded, jobs, repeat(report))
        ]


def run(job: Job, progress: Callable[[str], None]) -> Evaluation:
    """Evaluate the model of `job` in this process."""
    settings = job.settings
    home = settings.home
    where = settings
    if job.data and job.scratch:
        progress("ingesting the archive")
        home = job.scratch
        where = settings.model_copy(update={"home": home, "index": None})
        _ingest(job.data, job, home)
    bundle = find_bundle(job.model, settings.models_dir)
    index = open_index(where)
    try:
        retriever = Retriever(
            Encoder(bundle, device=settings.device, threads=settings.threads), index.open(collection_name(job.model))
        )
        recorded = build_of(home, index.location, job.model)
        return evaluate(
            retriever,
            index,
            job.protocol,
            studies=job.studies,
            media_dir=where.media_dir,
            build=Build(images=recorded[0], seconds=recorded[1]) if recorded else None,
            threads=settings.threads,
            progress=progress,
        )
    finally:
        index.close()


def _ingest(data: Path, job: Job, home: Path) -> None:
    """Ingest the archive in `data`, or those of its studies that are judged, into the embedded index of `home`."""
    tables = (data / "indiana_reports.csv", data / "indiana_projections.csv")
    if not tables[0].exists():
        tables = (data / "reports.csv", data / "projections.csv")
    settings = job.settings
    source = IndianaSource(*tables, data / "images", uids=set(job.studies) if job.studies is not None else None)
    encoder = Encoder(find_bundle(job.model, settings.models_dir), device=settings.device, threads=settings.threads)
    index = EdgeIndex(home / "index")
    try:
        Worker(encoder, index, home=home, media_dir=home / "media").run(source)
    finally:
        index.close()


def _run_encoded(job: Job, report: Callable[[str, str], None]) -> bytes:
    return msgspec.json.encode(run(job, partial(report, job.model)))
