"""The commands `cxr ingest` and `cxr phantoms`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.console import DeviceOption, IndexOption, JsonOption, print_json, progress_bar, read_settings, say

if TYPE_CHECKING:
    from ingest.worker import IngestSummary

EXIT_WITH_QUARANTINE = 3

ReportsOption = Annotated[Path, typer.Option("--reports-csv", help="uid, MeSH, Problems, findings, impression, …")]
ProjectionsOption = Annotated[Path, typer.Option("--projections-csv", help="uid, filename, projection.")]
ImagesOption = Annotated[Path, typer.Option("--images-dir", help="Folder that holds the files named there.")]


def mount(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(ingest)
    app.command()(phantoms)


def ingest(
    reports_csv: ReportsOption,
    projections_csv: ProjectionsOption,
    images_dir: ImagesOption,
    model: Annotated[str, typer.Option("--model", help="An installed model; see `cxr models`.")],
    dataset: Annotated[str, typer.Option("--dataset", help="Name under which the studies are stored.")] = "indiana",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=1024, help="Images encoded at once.")] = 32,
    recreate: Annotated[bool, typer.Option("--recreate", help="Drop the model's collection first.")] = False,
    thumbnails: Annotated[bool, typer.Option(help="Write thumbnails for the web page.")] = True,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index the images and reports of an archive in the Indiana (Open-i) form with one model.

    Running it again changes nothing; a run that was cut off is finished by the same command. Exit code 0: complete,
    3: complete but for quarantined files, which are listed; anything else: failed.

    \b
    cxr ingest --reports-csv indiana_reports.csv --projections-csv indiana_projections.csv \\
        --images-dir images --model biomedclip
    """
    from ingest.sources.indiana import IndianaSource
    from ingest.worker import Worker
    from retrieval.bundle import find_bundle
    from retrieval.encoder import Encoder
    from retrieval.index import open_index

    settings = read_settings(index, device)
    encoder = Encoder(find_bundle(model, settings.models_dir), device=settings.device, threads=settings.threads)
    source = IndianaSource(reports_csv, projections_csv, images_dir, dataset=dataset)
    opened = open_index(settings)
    try:
        worker = Worker(encoder, opened, media_dir=settings.media_dir if thumbnails else None, batch_size=batch_size)
        with progress_bar(f"Ingesting with {model}") as progress:
            summary = worker.run(source, recreate=recreate, progress=progress)
    finally:
        opened.close()
    if as_json:
        print_json(summary.to_dict())
    else:
        print_summary(summary)
    if summary.quarantined:
        raise typer.Exit(EXIT_WITH_QUARANTINE)


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Folder to write reports.csv, projections.csv and images/ into.")],
    studies: Annotated[int, typer.Option("--studies", min=1, max=100_000, help="How many studies to draw.")] = 600,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same studies.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic chest X-rays with known findings and matching reports, in the form that `cxr ingest` reads.

    \b
    cxr phantoms phantoms --studies 600
    """
    from ingest.sources.phantom import write_phantoms

    with progress_bar("Drawing phantoms", "studies") as progress:
        files = write_phantoms(folder, studies, seed, progress=lambda done: progress(done, studies))
    if as_json:
        print_json(
            {
                "studies": studies,
                "seed": seed,
                "reports_csv": str(files.reports_csv),
                "projections_csv": str(files.projections_csv),
                "images_dir": str(files.images_dir),
            }
        )
    else:
        say(f"{studies} studies in {folder}")


def print_summary(summary: IngestSummary) -> None:
    """Say what an ingest did, and why each file that was set aside was."""
    say(
        f"{summary.collection}: {summary.indexed} indexed, {summary.unchanged} unchanged, "
        f"{len(summary.quarantined)} quarantined in {summary.seconds:.1f} s ({summary.images_per_second:.0f} images/s)"
    )
    say("views: " + ", ".join(f"{view} {count}" for view, count in summary.by_view.most_common()))
    say("most frequent findings: " + ", ".join(f"{name} {count}" for name, count in summary.by_finding.most_common(8)))
    for item in summary.quarantined:
        say(f"  quarantined [{item.code}] {item.file}: {item.detail}")
