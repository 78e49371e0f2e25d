"""One evaluation as a job for a process of its own, so that its memory is its own and no index is held meanwhile."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import msgspec

from retrieval.console import say
from retrieval.evaluation.records import Build, Evaluation, Protocol, read_evaluation
from retrieval.settings import RetrievalSettings


class Archives(Interface):
    """What the evaluation needs of ingest, which it may not import; made at the root of the command line."""

    def ingest(
        self, data: Path, studies: frozenset[str] | None, model: str, settings: RetrievalSettings, home: Path
    ) -> None:
        """Ingest the archive in `data`, or those of its `studies`, with `model` into the embedded index of `home`."""

    def build(self, home: Path, location: str, model: str) -> tuple[int, float] | None:
        """Images that the ingests of a collection encoded and the seconds they took; None if nothing was recorded."""

    def indexed(self, home: Path, location: str, model: str) -> frozenset[tuple[str, str]] | None:
        """Dataset and image id of what the ledger of a collection calls indexed; None if there is no ledger."""


@dataclass(frozen=True, slots=True)
class Job:
    """One model to be evaluated. `data` is an archive that is ingested into `scratch` first; None takes the collection."""

    model: str
    settings: RetrievalSettings
    protocol: Protocol
    studies: frozenset[str] | None
    archives: Archives
    data: Path | None = None
    scratch: Path | None = None


def run_apart(jobs: Sequence[Job]) -> list[Evaluation]:
    """Run each job in a fresh process, one after the other.

    Raises:
        RetrievalError: what a job raised.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        return [read_evaluation(content, "the process's answer") for content in pool.map(_run_encoded, jobs)]


def run(job: Job, progress: Callable[[str], None]) -> Evaluation:
    """Evaluate the model of `job` in this process."""
    from retrieval.bundle import find_bundle
    from retrieval.encoder import Encoder
    from retrieval.evaluation.evaluate import evaluate
    from retrieval.index import open_index
    from retrieval.index.schema import collection_name
    from retrieval.search import Retriever

    settings = job.settings
    home = settings.home
    where = settings
    if job.data and job.scratch:
        progress("ingesting the archive")
        home = job.scratch
        where = settings.model_copy(update={"home": home, "index": None})
        job.archives.ingest(job.data, job.studies, job.model, settings, home)
    bundle = find_bundle(job.model, settings.models_dir)
    index = open_index(where)
    try:
        retriever = Retriever(
            Encoder(bundle, device=settings.device, threads=settings.threads), index.open(collection_name(job.model))
        )
        recorded = job.archives.build(home, index.location, job.model)
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


def _run_encoded(job: Job) -> bytes:
    return msgspec.json.encode(run(job, lambda what: say(f"{job.model}: {what}")))
