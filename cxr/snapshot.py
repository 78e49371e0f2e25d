"""`cxr snapshot create` and `restore`: a collection in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.console import print_json, say
from cxr.options import (
    CollectionArgument,
    IndexOption,
    JsonOption,
    ReplicasOption,
    ShardsOption,
)
from cxr.progress import progress_bar
from cxr.settings import read_settings
from cxr.transfer_options import CopyQuantizationOption, RecreateOption, load_options, opened_index, report_transfer
from ingest.snapshot import create_snapshot, restore_snapshot
from retrieval.index.schema import collection_name

app = typer.Typer(
    help="Save a collection to one file, and restore it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def create(
    model: CollectionArgument,
    file: Annotated[Path, typer.Argument(help="File to write. An existing file is replaced at the end.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save the collection of MODEL to FILE.

    Both engines can restore the file. It holds vectors, labels and report texts: protect it as you protect the archive.
    It does not hold the model bundle and the thumbnails.

    \b
    cxr snapshot create biomedclip biomedclip.zip
    """
    with opened_index(index) as source, progress_bar(f"Writing {file.name}") as progress:
        notes = read_settings().drafts_dir
        summary = create_snapshot(source.open(collection_name(model)), file, notes=notes, progress=progress)
    if as_json:
        print_json(summary.to_dict())
        return
    size = f"{summary.size_bytes / 1e6:.1f} MB"
    say(f"{summary.collection}: {summary.points:,} images in {summary.file} ({size}, read back)")
    if not summary.complete:
        say(
            "the collection is not complete because its last ingest did not finish; "
            "a restored copy will not be complete either"
        )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `cxr snapshot create` wrote.")],
    recreate: RecreateOption = False,
    shards: ShardsOption = 1,
    replicas: ReplicasOption = 1,
    quantization: CopyQuantizationOption = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the collection in FILE, in the embedded index or on a server.

    The command checks the whole file before it changes anything. With --recreate it then drops the old collection. If
    writing fails after that, neither the old nor the new collection is left: keep a snapshot of the old one.

    \b
    cxr snapshot restore biomedclip.zip
    cxr snapshot restore biomedclip.zip --index https://qdrant.example:6333 --recreate
    """
    options = load_options(quantization, shards=shards, replicas=replicas, recreate=recreate)
    with opened_index(index) as target, progress_bar(f"Restoring {file.name}") as progress:
        summary = restore_snapshot(file, target, options, progress=progress)
    report_transfer(summary, as_json)
