"""`cxr use`: switch the active model."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr.console import print_json, say
from cxr.options import IndexOption, JsonOption
from cxr.settings import read_settings
from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest


def use(
    model: Annotated[str | None, typer.Argument(help="A model that has a collection; see `cxr models`.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the model that was active before.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Switch although the collection is incomplete or holds fewer images."),
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch the active model.

    Searches that name no model use the active model. A running service follows: at once on an embedded index, within
    a second on a server. The command refuses a model whose collection is incomplete, or holds fewer images of a dataset
    than the active one.

    \b
    cxr use biomedclip
    cxr use --back
    """
    if (model is not None) == back:
        raise InvalidRequest("give either a model or --back")
    with Catalog(read_settings(index)) as catalog:
        status = catalog.activate_previous() if model is None else catalog.activate(model, force=force)
    if as_json:
        print_json(
            {
                "active": status.key,
                "collection": status.collection,
                "bundle_id": status.bundle_id,
                "images": status.images,
                "complete": status.complete,
            }
        )
    else:
        images = f", {status.images:,} images" if status.images and status.complete else ""
        incomplete = "" if status.complete else "; its collection is not complete, `cxr doctor` shows why"
        say(f"{status.key} is active ({status.collection}, bundle {status.bundle_id}{images}{incomplete})")
