"""What the ledgers of an index tell: runs, counts, quarantine."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from ingest.ledger import Ledger, ledger_path
from ingest.sources.part import Part
from ingest.sources.spec import SourceSpec
from retrieval.index.schema import collection_name, model_of


def describe_ledgers(home: Path, location: str, model: str | None = None) -> list[dict[str, Any]]:
    """One document for each collection of the index at `location` that has a ledger, or for that of `model` alone."""
    folder = ledger_path(home, location, "").parent
    wanted = f"{collection_name(model)}.sqlite" if model else "*.sqlite"
    return [_describe(path) for path in sorted(folder.glob(wanted))]


def quarantined_sources(home: Path, location: str, model: str) -> list[tuple[SourceSpec, frozenset[str]]]:
    """The sources of `model` that have files in quarantine, as they were last opened, with the names of those files."""
    path = ledger_path(home, location, collection_name(model))
    if not path.exists():
        return []
    with Ledger(path) as ledger:
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
        for run in collection["runs"]:
            part = "" if run["part"] == Part.WHOLE else f", part {run['part']}"
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
    with Ledger(path) as ledger:
        runs = ledger.runs()
        aside = ledger.quarantined()
        notes = ledger.notes()
    # The latest run of each part of each dataset: what came before it is history.
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        state = "complete" if run.finished_at else "cut off or running"
        latest.setdefault((run.dataset, run.part), asdict(run) | {"state": state})
    return {
        "model": model_of(path.stem),
        "collection": path.stem,
        "ledger": str(path),
        "runs": list(latest.values()),
        "by_code": dict(Counter(item.code for item in aside).most_common()),
        "quarantined": [asdict(item) for item in aside],
        "notes": notes,
    }
