"""`cxr phantoms`: draw synthetic chest X-rays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archives.phantoms import write_phantoms
from cxr.console import print_json, say
from cxr.options import JsonOption
from cxr.progress import progress_bar


def phantoms(
    folder: Annotated[Path, typer.Argument(help="Folder for reports.csv, projections.csv and images/.")],
    studies: Annotated[int, typer.Option("--studies", min=1, max=100_000, help="Number of studies.")] = 600,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same studies.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw synthetic chest X-rays with known findings and reports.

    `cxr ingest` reads the folder with --reports-csv, --projections-csv and --images-dir.

    \b
    cxr phantoms phantoms --studies 600
    """
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
