"""The command `cxr search`, and the mounting of all of the engine's commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import retrieval.lifecycle_cli
from retrieval.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings

if TYPE_CHECKING:
    from retrieval.records import View
    from retrieval.rerank import Rerank
    from retrieval.search import SearchResult


def mount(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(search)
    retrieval.lifecycle_cli.mount(app)


def search(
    text: Annotated[str | None, typer.Option("--text", help="Describe what to look for.")] = None,
    image: Annotated[Path | None, typer.Option("--image", help="A PNG, JPEG or WebP file.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="Id of a stored study.")] = None,
    with_: Annotated[list[str] | None, typer.Option("--with", help="Finding that must be present; repeatable.")] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Finding that must not be present or uncertain; repeatable.")
    ] = None,
    view: Annotated[str | None, typer.Option("--view", help="frontal, lateral or unknown.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Dataset of every hit, and of the study.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Default: the active model.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many hits, 1 to 100.")] = 10,
    rerank: Annotated[
        str, typer.Option("--rerank", help="signals (all five) or none (image similarity only).")
    ] = "signals",
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find similar cases by text, by image, or by a stored study.

    \b
    cxr search --text "cardiomegaly with pleural effusion" --view frontal -k 5
    cxr search --image case.png --with "Pleural Effusion" --without Pneumothorax
    cxr search --study 1234 --model biomedclip --json
    """
    from retrieval.catalog import Catalog
    from retrieval.errors import InvalidRequest
    from retrieval.index.filters import Filters

    if sum(query is not None for query in (text, image, study)) != 1:
        raise InvalidRequest("give exactly one of --text, --image and --study")
    if view not in (None, "frontal", "lateral", "unknown"):
        raise InvalidRequest(f"--view must be frontal, lateral or unknown, found {view!r}")
    options: dict[str, Any] = {
        "filters": Filters(
            all=tuple(with_ or ()), none=tuple(without or ()), view=cast("View | None", view), dataset=dataset
        ),
        "k": k,
        "rerank": cast("Rerank", rerank),
    }
    with Catalog(read_settings(index, device)) as catalog:
        retriever = catalog.retriever(model)
        if text is not None:
            result = retriever.search_text(text, **options)
        elif image is not None:
            result = retriever.search_image(image, **options)
        else:
            result = retriever.search_similar(str(study), **options)
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
    Console().print(table)


def _describe(result: SearchResult) -> str:
    stages = ", ".join(f"{stage} {elapsed:.1f} ms" for stage, elapsed in result.timings_ms.items())
    filters = ", ".join(f"{name}={value}" for name, value in result.interpreted["filters"].items()) or "none"
    return f"filters: {filters} · {stages}"
