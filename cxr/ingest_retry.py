"""`cxr ingest retry` reads quarantined files again; `cxr ingest finish` completes a shared ingest."""

from __future__ import annotations

import typer

from archives.source_spec import SourceSpec
from cxr.console import print_json, say
from cxr.graceful_stop import GracefulStop
from cxr.ingest_options import (
    EXIT_QUARANTINED,
    BatchOption,
    BurnedInOption,
    ModelOption,
    ThumbnailsOption,
    opened_worker,
    read_ingest_settings,
)
from cxr.ingest_status import quarantined_sources
from cxr.ingest_summary import describe_counts, print_summary
from cxr.options import DeviceOption, IndexOption, JsonOption
from cxr.progress import progress_bar
from ingest.run_mode import RunMode
from ingest.summary import IngestSummary
from ingest.worker import Worker
from retrieval.errors import CountsDiffer
from retrieval.index.completeness import why_incomplete
from retrieval.index.engines import open_index
from retrieval.index.schema import collection_name
from retrieval.settings import RetrievalSettings


def retry(
    model: ModelOption,
    batch_size: BatchOption = 32,
    thumbnails: ThumbnailsOption = True,
    allow_burned_in: BurnedInOption = False,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the quarantined files again, and only those.

    The ledger remembers the sources and their options.

    \b
    cxr ingest retry --model biomedclip
    """
    settings = read_ingest_settings(index, device)
    sources = quarantined_sources(settings.home, settings.index_location, model)
    if not sources:
        _complete_interrupted_retry(settings, model)
        say(f"no file of {model} is quarantined")
        if as_json:
            print_json({"retried": []})
        return
    with opened_worker(
        settings,
        model,
        media_dir=settings.media_dir if thumbnails else None,
        batch_size=batch_size,
        allow_burned_in=allow_burned_in,
    ) as worker:
        summaries = [_retry_source(worker, spec, names, settings) for spec, names in sources]
    if as_json:
        print_json({"retried": [summary.to_dict() for summary in summaries]})
    else:
        for summary in summaries:
            print_summary(summary)
    if any(summary.quarantined for summary in summaries):
        raise typer.Exit(EXIT_QUARANTINED)


def finish(
    model: ModelOption,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Complete a collection after the last `--worker i/n` of a shared ingest: optimize, calibrate, mark as complete.

    \b
    cxr ingest finish --model biomedclip --index https://qdrant.example:6333
    """
    settings = read_ingest_settings(index, device)
    with opened_worker(settings, model, media_dir=None) as worker, progress_bar() as progress:
        meta = worker.finish(progress)
    if as_json:
        print_json({"model": meta.model, "bundle_id": meta.bundle_id, "counts": meta.counts, "complete": meta.complete})
    else:
        say(f"{meta.model} is complete: {describe_counts(meta.counts)}")


def _retry_source(
    worker: Worker, spec: SourceSpec, names: frozenset[str], settings: RetrievalSettings
) -> IngestSummary:
    stop = GracefulStop()
    with stop.handling_ctrl_c(), progress_bar() as progress:
        stoppable = stop.wrap(progress)
        source = spec.open(settings.home, stoppable)
        return worker.run(source, RunMode(retry=names), spec=spec, progress=stoppable)


def _complete_interrupted_retry(settings: RetrievalSettings, model: str) -> None:
    """Complete the collection of `model` if an earlier retry was interrupted after its last file.

    Raises:
        CountsDiffer: the collection is not complete for another reason.
    """
    index = open_index(settings)
    try:
        meta = index.collections().get(collection_name(model))
    finally:
        index.close()
    if not meta or meta.complete:
        return
    with opened_worker(settings, model, media_dir=None) as worker, progress_bar() as progress:
        meta = worker.finish_retry(progress)
    if not meta.complete:
        raise CountsDiffer(
            f"no file of {model} is quarantined, but its collection is not complete: {why_incomplete(meta)}"
        )
    say(f"an earlier retry was interrupted; {model} is complete now: {describe_counts(meta.counts)}")
