"""The command `cxr ingest`, with `status`, `retry` and `finish`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cxr.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings, say
from cxr.ingest_summary import SHOWN, describe_counts, print_summary
from cxr.interruption import Interruption
from cxr.progress import progress_bar

if TYPE_CHECKING:
    from archives.source_spec import SourceSpec
    from ingest.summary import IngestSummary
    from ingest.worker import Worker
    from retrieval.index.schema import Quantization
    from retrieval.settings import RetrievalSettings

EXIT_WITH_QUARANTINE = 3

ModelOption = Annotated[str, typer.Option("--model", help="An installed model; see `cxr models`.")]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, max=1024, help="Images encoded at once.")]
ThumbnailsOption = Annotated[bool, typer.Option(help="Write thumbnails for the web page.")]
BurnedInOption = Annotated[
    bool, typer.Option("--allow-burned-in", help="Take DICOM files that say they have annotations in their pixels.")
]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def ingest(
    context: typer.Context,
    model: Annotated[str | None, typer.Option("--model", help="An installed model; see `cxr models`.")] = None,
    reports_csv: Annotated[
        Path | None, typer.Option("--reports-csv", help="uid, MeSH, Problems, findings, impression, …")
    ] = None,
    projections_csv: Annotated[
        Path | None, typer.Option("--projections-csv", help="uid, filename, projection.")
    ] = None,
    images_dir: Annotated[Path | None, typer.Option("--images-dir", help="Folder that holds the files.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="A CSV or Parquet table with one row for each image.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="What a column of the table is, as image=path; repeatable.")
    ] = None,
    dicom_dir: Annotated[Path | None, typer.Option("--dicom-dir", help="A tree of DICOM files.")] = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name under which the studies are stored; default: the source's.")
    ] = None,
    batch_size: BatchOption = 32,
    recreate: Annotated[bool, typer.Option("--recreate", help="Drop the model's collection first.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what the source no longer has; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Prune without asking.")] = False,
    allow_shrink: Annotated[
        bool,
        typer.Option("--allow-shrink", help="Prune also if the source or a folder is empty, or over half is gone."),
    ] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="Confirm that the dataset's archive has moved, or its table has a new name.")
    ] = False,
    worker: Annotated[
        str | None, typer.Option("--worker", help="Take part i of n, as 2/8; `cxr ingest finish` after the last.")
    ] = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read files even if size and time of change are as they were.")
    ] = False,
    thumbnails: ThumbnailsOption = True,
    allow_burned_in: BurnedInOption = False,
    read_threads: Annotated[
        int, typer.Option("--read-threads", min=0, max=64, help="Threads that read and decode; 0: one per core.")
    ] = 0,
    shards: Annotated[int, typer.Option("--shards", min=1, help="Shards of a new collection; server only.")] = 1,
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Copies of each shard; server only.")] = 1,
    quantization: Annotated[
        str, typer.Option("--quantization", help="int8: faster, a third larger on disk; or none. Of a new collection.")
    ] = "int8",
    pause_optimizer: Annotated[
        bool, typer.Option("--pause-optimizer", help="Let the server build its graph after the load, not during it.")
    ] = False,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index the images and reports of an archive with one model.

    Running it again changes nothing that has not changed; a run that was cut off is finished by the same command. Exit
    code 0: complete, 3: complete but for quarantined files or images that --prune kept, which are listed; anything else:
    failed. The collection of a model is built beside those of others; `cxr use MODEL` switches to it.

    \b
    cxr ingest --model biomedclip --reports-csv indiana_reports.csv \\
        --projections-csv indiana_projections.csv --images-dir images
    cxr ingest --model biomedclip --table cases.csv --column image=path --column study_id=case
    cxr ingest --model biomedclip --dicom-dir /archive --reports-csv reports_by_accession.csv
    cxr ingest --model biomedclip --images-dir images
    cxr ingest --model biomedclip --dicom-dir /archive --index http://qdrant:6333 --worker 2/8
    """
    if context.invoked_subcommand is not None:
        return
    from archives.source_part import parse_part
    from archives.source_spec import SourceSpec
    from ingest.run_mode import RunMode
    from retrieval.errors import InvalidRequest
    from retrieval.index.schema import CollectionLayout

    if model is None:
        raise InvalidRequest("name a model: --model NAME; `cxr models` lists those that are installed")
    if prune and not yes and as_json:
        raise InvalidRequest("--prune asks on the terminal; with --json give --yes, too")
    if allow_shrink and not prune:
        raise InvalidRequest("--allow-shrink says what --prune may remove; give --prune, too")
    if prune and worker:
        raise InvalidRequest("--prune needs the whole source; run it without --worker, after all parts")
    if quantization not in ("none", "int8"):
        raise InvalidRequest(f"--quantization must be none or int8, found {quantization!r}")
    part = parse_part(worker) if worker else None
    spec = SourceSpec.from_options(
        reports_csv=reports_csv,
        projections_csv=projections_csv,
        images_dir=images_dir,
        table=table,
        columns=column,
        dicom_dir=dicom_dir,
        dataset=dataset,
    )
    settings = _read_settings(index, device)
    with progress_bar() as progress:
        source = spec.open(settings.home, progress)
    options: dict[str, Any] = {
        "media_dir": settings.media_dir if thumbnails else None,
        "batch_size": batch_size,
        "read_threads": read_threads,
        "layout": CollectionLayout(shards=shards, replicas=replicas, quantization=cast("Quantization", quantization)),
        "pause_optimizer": pause_optimizer,
        "rehash": rehash,
        "allow_burned_in": allow_burned_in,
    }

    interruption = Interruption()

    def confirm(gone: int, total: int) -> bool:
        say(f"{gone:,} of {total:,} images of {source.dataset} are no longer in the source")
        with interruption.left_to_python():
            return yes or typer.confirm("Remove them from the index?", err=True)

    mode = RunMode(part=part, prune=confirm if prune else None, allow_shrink=allow_shrink, recreate=recreate)
    with _worker(settings, model, **options) as started, interruption.heeded(), progress_bar() as progress:
        summary = started.run(source, mode, spec=spec, moved=moved, progress=interruption.watching(progress))
    _report(summary, settings, as_json)


@app.command()
def status(
    model: Annotated[str | None, typer.Option("--model", help="Default: all models with a ledger.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every quarantined file.")] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was ingested into an index, and which files were quarantined and why. Needs no lock on the index.

    \b
    cxr ingest status
    cxr ingest status --model biomedclip --all
    """
    from cxr.ingest_status import describe_ledgers, print_status, read_collections

    settings = _read_settings(index)
    found = describe_ledgers(settings.home, settings.index_location, model, held=read_collections(settings))
    if as_json:
        print_json({"index": settings.index_location, "collections": found})
    else:
        print_status(found, limit=None if everything else SHOWN)


@app.command()
def retry(
    model: ModelOption,
    batch_size: BatchOption = 32,
    thumbnails: ThumbnailsOption = True,
    allow_burned_in: BurnedInOption = False,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read the quarantined files again, and only those, from the sources that the ledger remembers.

    \b
    cxr ingest retry --model biomedclip
    """
    from cxr.ingest_status import quarantined_sources

    settings = _read_settings(index, device)
    options: dict[str, Any] = {"allow_burned_in": allow_burned_in, "batch_size": batch_size}
    todo = quarantined_sources(settings.home, settings.index_location, model)
    if not todo:
        _finish_retry(settings, model, as_json)
        return
    media_dir = settings.media_dir if thumbnails else None
    with _worker(settings, model, media_dir=media_dir, **options) as started:
        summaries = [_retry(started, spec, names, settings) for spec, names in todo]
    if as_json:
        print_json({"retried": [summary.to_dict() for summary in summaries]})
    else:
        for summary in summaries:
            print_summary(summary)
    if any(summary.quarantined for summary in summaries):
        raise typer.Exit(EXIT_WITH_QUARANTINE)


@app.command()
def finish(
    model: ModelOption,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Optimise and calibrate a collection after the last `--worker i/n` of a shared job, and mark it as complete.

    \b
    cxr ingest finish --model biomedclip --index http://qdrant:6333
    """
    settings = _read_settings(index, device)
    with _worker(settings, model, media_dir=None) as started, progress_bar() as progress:
        meta = started.finish(progress)
    if as_json:
        print_json({"model": meta.model, "bundle_id": meta.bundle_id, "counts": meta.counts, "complete": meta.complete})
    else:
        say(f"{meta.model} is complete: {describe_counts(meta)}")


def _finish_retry(settings: RetrievalSettings, model: str, as_json: bool) -> None:
    """Nothing is in quarantine; but an earlier retry may have been cut off after its last file.

    Raises:
        CountsDiffer: the collection is not complete, and another command completes it.
    """
    from retrieval.errors import CountsDiffer
    from retrieval.index import open_index
    from retrieval.index.completeness import why_incomplete
    from retrieval.index.schema import collection_name

    opened = open_index(settings)
    try:
        meta = opened.collections().get(collection_name(model))
    finally:
        opened.close()
    if meta and not meta.complete:
        with _worker(settings, model, media_dir=None) as started, progress_bar() as progress:
            meta = started.finish_retry(progress)
        if not meta.complete:
            raise CountsDiffer(
                f"nothing of {model} is in quarantine, but its collection is not complete: {why_incomplete(meta)}"
            )
        say(f"an earlier retry was cut off; {model} is complete now: {describe_counts(meta)}")
    say(f"nothing of {model} is in quarantine")
    if as_json:
        print_json({"retried": []})


def _read_settings(index: str | None, device: str | None = None) -> RetrievalSettings:
    from ingest.ledger import adopt_ledgers

    settings = read_settings(index, device)
    adopt_ledgers(settings.home, settings.index_address, settings.index_location)
    return settings


def _retry(worker: Worker, spec: SourceSpec, names: frozenset[str], settings: RetrievalSettings) -> IngestSummary:
    from ingest.run_mode import RunMode

    interruption = Interruption()
    with interruption.heeded(), progress_bar() as progress:
        watched = interruption.watching(progress)
        return worker.run(spec.open(settings.home, watched), RunMode(retry=names), spec=spec, progress=watched)


@contextmanager
def _worker(settings: RetrievalSettings, model: str, **options: Any) -> Iterator[Worker]:
    from ingest.worker import Worker
    from retrieval.index import open_index
    from retrieval.model.bundle import find_bundle
    from retrieval.model.encoder import Encoder

    encoder = Encoder(find_bundle(model, settings.models_dir), device=settings.device, threads=settings.threads)
    opened = open_index(settings, patient=True)
    try:
        yield Worker(encoder, opened, home=settings.home, **options)
    finally:
        opened.close()


def _report(summary: IngestSummary, settings: RetrievalSettings, as_json: bool) -> None:
    if as_json:
        print_json(summary.to_dict())
    else:
        print_summary(summary)
    if summary.quarantined or summary.kept:
        raise typer.Exit(EXIT_WITH_QUARANTINE)
