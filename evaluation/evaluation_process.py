"""The measurement of one model, in this process or in a separate one.

In a separate process its peak memory is not that of another model, and no index stays open between two models.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import msgspec

from archives.indiana import IndianaSource
from evaluation.evaluate import evaluate
from evaluation.results import Build, Evaluation, Protocol, read_evaluation
from ingest.ledger.queries import build_of
from ingest.worker import Worker
from retrieval.index.engines import open_index
from retrieval.index.schema import collection_name
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.progress import StageProgress
from retrieval.search.retriever import Retriever
from retrieval.settings import RetrievalSettings

OpenProgress = Callable[[str], AbstractContextManager[StageProgress]]
"""Opens the progress of the model with this name."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What to measure: a model on its collection, or on the archive in `data`, which is ingested into `scratch` first.

    `studies` are the ids of the studies to judge; None for all.
    """

    model: str
    settings: RetrievalSettings
    protocol: Protocol
    studies: frozenset[str] | None
    data: Path | None = None
    scratch: Path | None = None


def measure_in_processes(measurements: Sequence[Measurement], open_progress: OpenProgress) -> list[Evaluation]:
    """The evaluations, each from a new process, one after the other.

    The processes call `open_progress`, so it must be a function of a module.

    Raises:
        RetrievalError: the error of a measurement.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        documents = pool.map(_measure_encoded, measurements, repeat(open_progress))
        return [read_evaluation(document, "the result of the process") for document in documents]


def measure_model(measurement: Measurement, progress: StageProgress) -> Evaluation:
    """The evaluation of one model, measured in this process."""
    model, settings, home = measurement.model, measurement.settings, measurement.settings.home
    index_settings = settings
    encoder = Encoder(find_bundle(model, settings.models_dir), device=settings.device, threads=settings.threads)
    if measurement.data and measurement.scratch:
        home = measurement.scratch
        index_settings = settings.model_copy(update={"home": home, "index": None})
        _ingest(measurement.data, measurement.studies, encoder, index_settings, progress)
    index = open_index(index_settings)
    try:
        retriever = Retriever(encoder, index.open(collection_name(model)))
        recorded = build_of(home, index.location, model)
        return evaluate(
            retriever,
            index,
            measurement.protocol,
            studies=measurement.studies,
            media_dir=index_settings.media_dir,
            build=Build(images=recorded[0], seconds=recorded[1]) if recorded else None,
            threads=settings.threads,
            progress=progress,
        )
    finally:
        index.close()


def _ingest(
    data: Path,
    studies: frozenset[str] | None,
    encoder: Encoder,
    index_settings: RetrievalSettings,
    progress: StageProgress,
) -> None:
    """Ingest the archive in `data`, or only `studies` of it, into the embedded index of `index_settings`."""
    tables = (data / "indiana_reports.csv", data / "indiana_projections.csv")
    if not tables[0].exists():
        tables = (data / "reports.csv", data / "projections.csv")
    source = IndianaSource(*tables, data / "images", uids=None if studies is None else set(studies))
    index = open_index(index_settings)
    try:
        worker = Worker(encoder, index, home=index_settings.home, media_dir=index_settings.media_dir)
        worker.run(source, progress=progress)
    finally:
        index.close()


def _measure_encoded(measurement: Measurement, open_progress: OpenProgress) -> bytes:
    with open_progress(measurement.model) as progress:
        return msgspec.json.encode(measure_model(measurement, progress))
