"""The command `cxr search`, and the mounting of all of the engine's commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings
from cxr.query_options import read_query

if TYPE_CHECKING:
    from retrieval.search.hits import SearchResult


def search(
    text: Annotated[str | None, typer.Option("--text", help="Describe what to look for.")] = None,
    image: Annotated[Path | None, typer.Option("--image", help="A PNG, JPEG, WebP or DICOM file.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="Id of a stored study.")] = None,
    like: Annotated[list[str] | None, typer.Option("--like", help="Stored study that fits; repeatable.")] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--unlike", help="Stored study that does not fit; repeatable.")
    ] = None,
    with_: Annotated[list[str] | None, typer.Option("--with", help="Finding that must be present; repeatable.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Finding that must not be present or uncertain; repeatable.")
    ] = None,
    view: Annotated[str | None, typer.Option("--view", help="frontal, lateral or unknown.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Dataset of every hit, and of the study.")] = None,
    filters: Annotated[
        str | None, typer.Option("--filters", help="All filters as JSON; --with, --view and the like add to it.")
    ] = None,
    no_interpret: Annotated[
        bool, typer.Option("--no-interpret", help="Do not make filters of what the text denies.")
    ] = False,
    match: Annotated[str | None, typer.Option("--match", help="dense (default), bm25 or hybrid.")] = None,
    rerank: Annotated[
        str | None, typer.Option("--rerank", help="signals (default), visual, report, none, or weights as JSON.")
    ] = None,
    diversity: Annotated[float | None, typer.Option("--diversity", help="0 (default) to 1: less of the same.")] = None,
    collapse: Annotated[
        str | None, typer.Option("--collapse", help="One hit per study or report; default none.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option("--candidates", help="Nearest images that are reordered, 1 to 1000; default 100.")
    ] = None,
    facet: Annotated[
        list[str] | None,
        typer.Option("--facet", help="Field whose values are counted: present, sides, view, …; repeatable."),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="How many hits, 1 to 100; default 10.")] = None,
    query: Annotated[
        str | None, typer.Option("--query", help="The whole query as JSON, a file of it, or - for stdin.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Default: the active model.")] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find similar cases by text, image, a stored study, or several of these together.

    \b
    cxr search --text "cardiomegaly with pleural effusion" --view frontal -k 5
    cxr search --image case.png --with "Pleural Effusion" --without Pneumothorax
    cxr search --study 1234 --unlike 77 --model biomedclip --json
    cxr search --text "nodule" --match hybrid --collapse report --facet sides
    cxr search --text "opacity" --filters '{"all": ["Opacity/left"], "severities": ["mild"]}'
    cxr search --query query.json
    """
    from retrieval.catalog import Catalog

    asked = read_query(
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
    if asked.image is not None:
        from retrieval.imaging.decoder_pool import decoders

        decoders.start()  # while the model loads
    with Catalog(read_settings(index, device)) as catalog:
        result = catalog.retriever(model).search(asked)
    if as_json:
        print_json(result.to_dict())
    else:
        print_hits(result)


def print_hits(result: SearchResult, title: str | None = None) -> None:
    """Show hits as a table on stdout: rank, score, parts, case, findings, impression; it fits 80 columns."""
    from rich.console import Console
    from rich.table import Table

    shown = f"{result.model} · {result.collection}"
    table = Table(
        title=f"{title}\n{shown}" if title else shown,
        title_justify="left",
        caption=_describe(result),
        caption_justify="left",
    )
    for heading in ("#", "score", "parts", "case", "findings", "report"):
        table.add_column(heading, justify="right" if heading in ("#", "score") else "left", overflow="fold")
    table.columns[2].no_wrap = True
    for rank, hit in enumerate(result.hits, start=1):
        given = "\n".join(f"{part:+.2f} {name}" for name, part in hit.parts.items())
        findings = "\n".join([*hit.present, *(f"{name}?" for name in hit.uncertain)])
        text = hit.report["impression"] or hit.report["findings"]
        table.add_row(str(rank), f"{hit.score:.3f}", given, f"{hit.study_id}\n{hit.view}", findings, text[:160])
    console = Console()
    if result.hits:
        console.print(table)
    else:
        console.print(f"No case obeys all filters ({_describe(result)}); take one away.", markup=False)
    for name, counts in result.facets.items():
        listed = ", ".join(f"{value or 'none'} {count:,}" for value, count in counts.items())
        console.print(f"{name}: {listed or 'no values'}", markup=False, highlight=False)


def _describe(result: SearchResult) -> str:
    stages = ", ".join(f"{stage} {elapsed:.1f} ms" for stage, elapsed in result.timings_ms.items())
    filters = ", ".join(f"{name}={value}" for name, value in result.interpreted["filters"].items()) or "none"
    unread = result.interpreted.get("unread")
    note = f" · no filter, since it names no finding known here: {', '.join(unread)}" if unread else ""
    if not result.interpreted.get("english", True):
        note = " · text not read for findings: it is not English"
    return f"filters: {filters}{note} · {stages}"
