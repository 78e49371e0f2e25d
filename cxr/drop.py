"""`cxr drop`: remove the collection of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr.console import print_json, say
from cxr.ingest_summary import describe_counts
from cxr.options import CollectionArgument, IndexOption, JsonOption, YesOption
from cxr.settings import read_settings
from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest


def drop(
    model: CollectionArgument,
    yes: YesOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remove it although it is active. Then no model is active.")
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a model's collection from the index.

    The command asks for confirmation. The model itself and the thumbnails stay.

    \b
    cxr drop biomedclip
    cxr drop biomedclip --yes --json
    """
    if as_json and not yes:
        raise InvalidRequest("--json cannot ask for confirmation; add --yes")

    def confirm(counts: dict[str, int]) -> bool:
        say(f"the collection of {model} holds {describe_counts(counts)}; its bundle and the thumbnails stay")
        return yes or typer.confirm("Remove it?", err=True)

    with Catalog(read_settings(index)) as catalog:
        counts = catalog.drop(model, force=force, confirm=confirm)
        active = next((status.key for status in catalog.models() if status.active), None)
    if as_json:
        print_json({"dropped": model, "counts": counts, "active": active})
    else:
        say("nothing was removed" if counts is None else f"the collection of {model} was removed")
