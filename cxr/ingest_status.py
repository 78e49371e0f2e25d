"""`cxr ingest status`: runs, counts and quarantine from the ledgers of an index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from archives.source_part import SourcePart
from archives.source_spec import SourceSpec
from cxr.console import print_json, say
from cxr.ingest_options import read_ingest_settings
from cxr.ingest_summary import LISTED_FILES
from cxr.options import IndexOption, JsonOption
from ingest.ledger import Ledger, ledger_path
from ingest.ledger.schema import RunRow
from retrieval.errors import IndexUnreachable, SystemFailure
from retrieval.index.completeness import why_incomplete
from retrieval.index.engines import open_index
from retrieval.index.schema import CollectionMeta, collection_name, model_of
from retrieval.records import Quarantined
from retrieval.settings import RetrievalSettings


def status(
    model: Annotated[
        str | None, typer.Option("--model", help="Show this model only. [default: all models that have a ledger]")
    ] = None,
    list_all: Annotated[bool, typer.Option("--all", help="List every quarantined file.")] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was ingested into an index, and the quarantined files with their reasons.

    The command works while another process has the index open.

    \b
    cxr ingest status
    cxr ingest status --model biomedclip --all
    """
    settings = read_ingest_settings(index)
    documents = describe_ledgers(settings.home, settings.index_location, model, collections=read_collections(settings))
    if as_json:
        print_json({"index": settings.index_location, "collections": documents})
    else:
        print_status(documents, limit=None if list_all else LISTED_FILES)


def describe_ledgers(
    home: Path,
    location: str,
    model: str | None = None,
    *,
    collections: Mapping[str, CollectionMeta | str] | None = None,
) -> list[dict[str, Any]]:
    """One document for each collection of the index at `location` that has a ledger, or for that of `model` only.

    `collections` is the result of `read_collections`.
    """
    folder = ledger_path(home, location, "").parent
    pattern = f"{collection_name(model)}.sqlite" if model else "*.sqlite"
    return [
        _describe_ledger(path) | _describe_collection(path.stem, collections or {})
        for path in sorted(folder.glob(pattern))
    ]


def read_collections(settings: RetrievalSettings) -> dict[str, CollectionMeta | str]:
    """The record of each collection of the index, or its damage in words; empty if the index does not answer."""
    try:
        index = open_index(settings)
    except IndexUnreachable as error:
        say(str(error))
        return {}
    try:
        return {**index.damaged(), **index.collections()}
    finally:
        index.close()


def quarantined_sources(home: Path, location: str, model: str) -> list[tuple[SourceSpec, frozenset[str]]]:
    """The sources of `model` that have quarantined files, as they were opened last, with the names of those files."""
    path = ledger_path(home, location, collection_name(model))
    if not path.exists():
        return []
    with Ledger(path, readonly=True) as ledger:
        latest: dict[str, SourceSpec] = {}
        for run in ledger.runs():
            if run.source:
                latest.setdefault(run.dataset, SourceSpec.from_dict(run.source))
        found = [
            (spec, frozenset(item.file for item in ledger.quarantined(dataset))) for dataset, spec in latest.items()
        ]
    return [(spec, names) for spec, names in found if names]


def print_status(documents: list[dict[str, Any]], *, limit: int | None) -> None:
    """Print the result of `describe_ledgers`, with at most `limit` quarantined files of each collection."""
    if not documents:
        typer.echo("no ledger found: nothing was ingested into this index from this machine")
    for document in documents:
        typer.echo(document["model"])
        images = f"complete, {document['images']:,} images" if document["complete"] else document["incomplete"]
        typer.echo(f"  collection: {images}")
        if document["damaged_ledger"]:
            typer.echo(f"  {document['damaged_ledger']}")
        for run in document["runs"]:
            part = "" if run["part"] == SourcePart.WHOLE else f", part {run['part']}"
            counts = _describe_run_counts(run["summary"])
            typer.echo(f"  {run['dataset']}{part}: {run['state']}, started {run['started_at']}{counts}")
        for note, count in document["notes"].items():
            typer.echo(f"  {count:,} images: {note}")
        _print_quarantined(document, limit)


def _print_quarantined(document: dict[str, Any], limit: int | None) -> None:
    quarantined = document["quarantined"]
    if not quarantined:
        return
    by_code = ", ".join(f"{code} {count:,}" for code, count in document["by_code"].items())
    typer.echo(f"  {len(quarantined):,} files quarantined ({by_code}); `cxr ingest retry --model {document['model']}`")
    for item in quarantined[:limit]:
        typer.echo(f"    [{item['code']}] {item['file']}: {item['detail']}")
    if limit is not None and len(quarantined) > limit:
        typer.echo(f"    … and {len(quarantined) - limit:,} more; --all lists them")


def _describe_run_counts(summary: dict[str, Any] | None) -> str:
    if summary is None:
        return ""
    kinds = ("indexed", "updated", "unchanged", "pruned")
    return "; " + ", ".join(f"{summary[kind]:,} {kind}" for kind in kinds if summary[kind])


def _describe_ledger(path: Path) -> dict[str, Any]:
    runs: list[RunRow] = []
    quarantined: list[Quarantined] = []
    notes: dict[str, int] = {}
    damage = ""
    try:
        with Ledger(path, readonly=True) as ledger:
            runs, quarantined, notes = ledger.runs(), ledger.quarantined(), ledger.notes()
    except SystemFailure as error:  # a damaged ledger must not hide the others
        damage = str(error)
    return {
        "model": model_of(path.stem),
        "collection": path.stem,
        "ledger": str(path),
        "damaged_ledger": damage,
        "runs": _latest_runs(runs),
        "by_code": dict(Counter(item.code for item in quarantined).most_common()),
        "quarantined": [asdict(item) for item in quarantined],
        "notes": notes,
    }


def _latest_runs(runs: list[RunRow]) -> list[dict[str, Any]]:
    """The latest run of each part of each dataset. Runs before a finished run over the whole source are history."""
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    finished: set[str] = set()
    for run in runs:
        if run.dataset in finished:
            continue
        state = "complete" if run.finished_at else "cut off or running"
        latest.setdefault((run.dataset, run.part), asdict(run) | {"state": state})
        if run.part == SourcePart.WHOLE and run.finished_at:
            finished.add(run.dataset)
    return list(latest.values())


def _describe_collection(name: str, collections: Mapping[str, CollectionMeta | str]) -> dict[str, Any]:
    """Whether the collection is complete, or why not, in the words of `cxr models`, `cxr doctor` and `cxr use`."""
    meta = collections.get(name)
    if isinstance(meta, CollectionMeta):
        return {"complete": meta.complete, "images": sum(meta.counts.values()), "incomplete": why_incomplete(meta)}
    why = f"it is damaged: {meta}" if meta else "not found in this index"
    return {"complete": None, "images": None, "incomplete": why}
