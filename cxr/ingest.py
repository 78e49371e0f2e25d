"""`cxr ingest`: index an archive with one model; with the subcommands `status`, `retry` and `finish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from archives.source_part import parse_part
from archives.source_spec import SourceSpec
from cxr.console import print_json, say
from cxr.graceful_stop import GracefulStop
from cxr.ingest_options import (
    EXIT_QUARANTINED,
    BatchOption,
    BurnedInOption,
    ThumbnailsOption,
    opened_worker,
    read_ingest_settings,
)
from cxr.ingest_retry import finish, retry
from cxr.ingest_status import status
from cxr.ingest_summary import print_summary
from cxr.options import (
    QUANTIZATIONS,
    DeviceOption,
    IndexOption,
    JsonOption,
    ReplicasOption,
    ShardsOption,
    require_choice,
)
from cxr.progress import progress_bar
from ingest.run_mode import RunMode
from retrieval.errors import InvalidRequest
from retrieval.index.schema import CollectionLayout, Quantization

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command()(status)
app.command()(retry)
app.command()(finish)


@app.callback(invoke_without_command=True)
def ingest(
    context: typer.Context,
    model: Annotated[str | None, typer.Option("--model", help="An installed model; see `cxr models`.")] = None,
    reports_csv: Annotated[
        Path | None, typer.Option("--reports-csv", help="Table of uid, MeSH, Problems, findings, impression, …")
    ] = None,
    projections_csv: Annotated[
        Path | None, typer.Option("--projections-csv", help="Table of uid, filename, projection.")
    ] = None,
    images_dir: Annotated[Path | None, typer.Option("--images-dir", help="Folder of the image files.")] = None,
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV, TSV or Parquet table with one row for each image.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="FIELD=COLUMN: read FIELD from your column COLUMN; repeatable.")
    ] = None,
    dicom_dir: Annotated[Path | None, typer.Option("--dicom-dir", help="Folder tree of DICOM files.")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", help="Name of the dataset. [default: indiana, table, dicom or images, by kind of source]"
        ),
    ] = None,
    batch_size: BatchOption = 32,
    recreate: Annotated[bool, typer.Option("--recreate", help="Drop the model's collection first.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove images that the source no longer has; asks for confirmation.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Prune without confirmation.")] = False,
    allow_shrink: Annotated[
        bool,
        typer.Option(
            "--allow-shrink",
            help="Prune even if the source or a folder is empty, or more than half of the images are gone.",
        ),
    ] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="Confirm that the archive has moved, or that its table has a new name.")
    ] = False,
    worker: Annotated[
        str | None, typer.Option("--worker", help="Ingest part i of n, as 2/8. Then run `cxr ingest finish` once.")
    ] = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read files even if their size and modification time are unchanged.")
    ] = False,
    thumbnails: ThumbnailsOption = True,
    allow_burned_in: BurnedInOption = False,
    read_threads: Annotated[
        int, typer.Option("--read-threads", min=0, max=64, help="Threads that read and decode; 0: one per core.")
    ] = 0,
    shards: ShardsOption = 1,
    replicas: ReplicasOption = 1,
    quantization: Annotated[
        str,
        typer.Option("--quantization", help="int8 (faster, a third larger on disk) or none, for a new collection."),
    ] = "int8",
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index the images and reports of an archive with one model.

    Run the command again after an interruption or after changes in the archive: it handles only what is new or changed.
    Exit codes: 0, complete; 3, complete except for quarantined files or images that --prune kept, which are listed;
    1, failed; 2, wrong usage; 130, stopped with Ctrl+C. Each model has its own collection; `cxr use MODEL` switches.

    \b
    cxr ingest --model biomedclip --reports-csv indiana_reports.csv \\
        --projections-csv indiana_projections.csv --images-dir images
    cxr ingest --model biomedclip --table cases.csv --column image=path --column study_id=case
    cxr ingest --model biomedclip --dicom-dir /archive --reports-csv reports_by_accession.csv
    cxr ingest --model biomedclip --images-dir images
    cxr ingest --model biomedclip --dicom-dir /archive --index https://qdrant.example:6333 --worker 2/8
    """
    if context.invoked_subcommand is not None:
        return
    if model is None:
        raise InvalidRequest("name a model: --model NAME; `cxr models` lists the installed models")
    _require_consistent(prune=prune, yes=yes, allow_shrink=allow_shrink, worker=worker, as_json=as_json)
    require_choice("--quantization", quantization, QUANTIZATIONS)
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
    settings = read_ingest_settings(index, device)
    with progress_bar() as progress:
        source = spec.open(settings.home, progress)
    stop = GracefulStop()

    def confirm(missing: int, total: int) -> bool:
        say(f"{missing:,} of {total:,} images of {source.dataset} are no longer in the source")
        with stop.raising_on_ctrl_c():
            return yes or typer.confirm("Remove them from the index?", err=True)

    mode = RunMode(part=part, prune=confirm if prune else None, allow_shrink=allow_shrink, recreate=recreate)
    layout = CollectionLayout(shards=shards, replicas=replicas, quantization=cast("Quantization", quantization))
    with (
        opened_worker(
            settings,
            model,
            media_dir=settings.media_dir if thumbnails else None,
            batch_size=batch_size,
            read_threads=read_threads,
            layout=layout,
            rehash=rehash,
            allow_burned_in=allow_burned_in,
        ) as ingest_worker,
        stop.handling_ctrl_c(),
        progress_bar() as progress,
    ):
        summary = ingest_worker.run(source, mode, spec=spec, moved=moved, progress=stop.wrap(progress))
    if as_json:
        print_json(summary.to_dict())
    else:
        print_summary(summary)
    if summary.quarantined or summary.kept:
        raise typer.Exit(EXIT_QUARANTINED)


def _require_consistent(*, prune: bool, yes: bool, allow_shrink: bool, worker: str | None, as_json: bool) -> None:
    if prune and not yes and as_json:
        raise InvalidRequest("--json cannot ask for confirmation; with --prune add --yes")
    if allow_shrink and not prune:
        raise InvalidRequest("--allow-shrink needs --prune: it widens what --prune may remove")
    if prune and worker:
        raise InvalidRequest("--prune needs the whole source; run it without --worker, after all parts")
