"""What the ledgers of an index tell: runs, counts, quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from archives.source_part import SourcePart
from archives.source_spec import SourceSpec
from cxr.console import say
from ingest.ledger import Ledger, ledger_path
from ingest.ledger.schema import RunRow
from retrieval.errors import IndexUnreachable, SystemFailure
from retrieval.index import open_index
from retrieval.index.completeness import why_incomplete
from retrieval.index.schema import CollectionMeta, collection_name, model_of
from retrieval.records import Quarantined
from retrieval.settings import RetrievalSettings


def describe_ledgers(
    home: Path, location: str, model: str | None = None, *, held: Mapping[str, CollectionMeta | str] | None = None
) -> list[dict[str, Any]]:
    """One document for each collection of the index at `location` that has a ledger, or for that of `model` alone.

    `held` is what `read_collections` gives.
    """
    folder = ledger_path(home, location, "").parent
    wanted = f"{collection_name(model)}.sqlite" if model else "*.sqlite"
    return [_describe(path) | _state(path.stem, held or {}) for path in sorted(folder.glob(wanted))]


def read_collections(settings: RetrievalSettings) -> dict[str, CollectionMeta | str]:
    """What each collection of the index records of itself, or what is wrong with it; empty if the index does not answer."""
    try:
        opened = open_index(settings)
    except IndexUnreachable as error:
        say(str(error))
        return {}
    try:
        return {**opened.damaged(), **opened.collections()}
    finally:
        opened.close()


def _state(name: str, held: Mapping[str, CollectionMeta | str]) -> dict[str, Any]:
    """Whether the collection is complete, and why not: as `cxr models`, `cxr doctor` and `cxr use` say it."""
    meta = held.get(name)
    if isinstance(meta, CollectionMeta):
        return {"complete": meta.complete, "images": sum(meta.counts.values()), "incomplete": why_incomplete(meta)}
    why = f"it is damaged: {meta}" if meta else "not found in this index"
    return {"complete": None, "images": None, "incomplete": why}


def quarantined_sources(home: Path, location: str, model: str) -> list[tuple[SourceSpec, frozenset[str]]]:
    """The sources of `model` that have files in quarantine, as they were last opened, with the names of those files."""
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


def print_status(found: list[dict[str, Any]], *, limit: int | None) -> None:
    """Show on stdout what `describe_ledgers` found; of each collection at most `limit` quarantined files."""
    if not found:
        typer.echo("no ledger here: nothing was ingested into this index from this machine")
    for collection in found:
        typer.echo(collection["model"])
        images = f"complete, {collection['images']:,} images" if collection["complete"] else collection["incomplete"]
        typer.echo(f"  collection: {images}")
        if collection["damaged_ledger"]:
            typer.echo(f"  {collection['damaged_ledger']}")
        for run in collection["runs"]:
            part = "" if run["part"] == SourcePart.WHOLE else f", part {run['part']}"
            typer.echo(
                f"  {run['dataset']}{part}: {run['state']}, started {run['started_at']}{_counts(run['summary'])}"
            )
        for note, count in collection["notes"].items():
            typer.echo(f"  {count:,} images: {note}")
        aside = collection["quarantined"]
        if not aside:
            continue
        by_code = ", ".join(f"{code} {count:,}" for code, count in collection["by_code"].items())
        typer.echo(f"  {len(aside):,} files set aside ({by_code}); `cxr ingest retry --model {collection['model']}`")
        for item in aside[:limit]:
            typer.echo(f"    [{item['code']}] {item['file']}: {item['detail']}")
        if limit is not None and len(aside) > limit:
            typer.echo(f"    … and {len(aside) - limit:,} more; --all lists them")


def _counts(summary: dict[str, Any] | None) -> str:
    if summary is None:
        return ""
    kinds = ("indexed", "updated", "unchanged", "pruned")
    return "; " + ", ".join(f"{summary[kind]:,} {kind}" for kind in kinds if summary[kind])


def _describe(path: Path) -> dict[str, Any]:
    runs: list[RunRow] = []
    aside: list[Quarantined] = []
    notes: dict[str, int] = {}
    damage = ""
    try:
        with Ledger(path, readonly=True) as ledger:
            runs, aside, notes = ledger.runs(), ledger.quarantined(), ledger.notes()
    except SystemFailure as error:  # one that is damaged must not hide the others
        damage = str(error)
    # The latest run of each part of each dataset: what came before it is history, as are parts before a whole run.
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    whole: set[str] = set()
    for run in runs:
        if run.dataset in whole:
            continue
        state = "complete" if run.finished_at else "cut off or running"
        latest.setdefault((run.dataset, run.part), asdict(run) | {"state": state})
        if run.part == SourcePart.WHOLE and run.finished_at:
            whole.add(run.dataset)
    return {
        "model": model_of(path.stem),
        "collection": path.stem,
        "ledger": str(path),
        "damaged_ledger": damage,
        "runs": list(latest.values()),
        "by_code": dict(Counter(item.code for item in aside).most_common()),
        "quarantined": [asdict(item) for item in aside],
        "notes": notes,
    }
