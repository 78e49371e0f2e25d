"""`cxr search`: find similar cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.console import print_json
from cxr.hits_table import print_hits
from cxr.options import DeviceOption, IndexOption, JsonOption
from cxr.query_from_options import read_query
from cxr.settings import read_settings
from retrieval.catalog import Catalog
from retrieval.imaging.decoder_pool import decoders


def search(
    text: Annotated[
        str | None,
        typer.Option("--text", help="Findings to look for, in words. The words rank hits; they do not exclude any."),
    ] = None,
    image: Annotated[Path | None, typer.Option("--image", help="A PNG, JPEG, WebP or DICOM file.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="Id of a stored study.")] = None,
    like: Annotated[
        list[str] | None, typer.Option("--like", help="Stored study that hits should resemble; repeatable.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--unlike", help="Stored study that hits should not resemble; repeatable.")
    ] = None,
    with_: Annotated[list[str] | None, typer.Option("--with", help="Finding that must be present; repeatable.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without", help="Finding that must not be present or uncertain. Images without labels pass. Repeatable."
        ),
    ] = None,
    view: Annotated[str | None, typer.Option("--view", help="frontal, lateral or unknown.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Dataset of the hits, and of the study.")] = None,
    filters: Annotated[
        str | None,
        typer.Option("--filters", help="Filters as JSON; --with, --without, --view and --dataset add to them."),
    ] = None,
    no_interpret: Annotated[
        bool, typer.Option("--no-interpret", help="Do not turn negated findings of the text into filters.")
    ] = False,
    match: Annotated[str | None, typer.Option("--match", help="dense, bm25 or hybrid. [default: dense]")] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            "--rerank", help="signals, visual, report, none, a saved preset, or weights as JSON. [default: signals]"
        ),
    ] = None,
    diversity: Annotated[
        float | None,
        typer.Option("--diversity", help="0 to 1; higher values avoid hits that resemble each other. [default: 0]"),
    ] = None,
    collapse: Annotated[
        str | None, typer.Option("--collapse", help="study or report: one hit of each. [default: none]")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", help="Nearest images to rerank, 1 to 1000. [default: 100]")
    ] = None,
    facet: Annotated[
        list[str] | None,
        typer.Option(
            "--facet", help="Count the values of a field, such as present, sides or view, in all matches; repeatable."
        ),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Number of hits, 1 to 100. [default: 10]")] = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--query", help="The whole query as JSON, as a JSON file, or - for stdin. Other options add to it."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to search with. [default: the active model]")
    ] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find similar cases by text, image or stored study.

    Several of these can be combined.

    \b
    cxr search --text "cardiomegaly with pleural effusion" --view frontal -k 5
    cxr search --image case.png --with "Pleural Effusion" --without Pneumothorax
    cxr search --study 1234 --unlike 77 --model biomedclip --json
    cxr search --text "nodule" --match hybrid --collapse report --facet sides
    cxr search --text "opacity" --filters '{"all": ["Opacity/left"], "severities": ["mild"]}'
    cxr search --query query.json
    """
    given = read_query(
        query,
        filters,
        conditions={"all": with_, "none": without, "view": view, "dataset": dataset},
        text=text,
        image=image,
        study=study,
        like=like,
        unlike=unlike,
        interpret=False if no_interpret else None,
        match=match,
        rerank=rerank,
        diversity=diversity,
        collapse=collapse,
        candidates=candidates,
        facets=facet,
        k=k,
    )
    if given.image is not None:
        decoders.start()  # it decodes while the model loads
    with Catalog(read_settings(index, device)) as catalog:
        result = catalog.retriever(model).search(given)
    if as_json:
        print_json(result.to_dict())
    else:
        print_hits(result)
