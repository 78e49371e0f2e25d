"""Reads from the ledger of a collection: the time of its build, and its indexed images."""

from __future__ import annotations

from pathlib import Path

from ingest.ledger.ledger import Ledger
from ingest.ledger.location import ledger_path
from retrieval.index.schema import collection_name


def build_of(home: Path, location: str, model: str) -> tuple[int, float] | None:
    """Images encoded by all runs of a collection, and the seconds of these runs; None if no run is recorded.

    Runs that encoded no image do not count.
    """
    path = ledger_path(home, location, collection_name(model))
    if not path.exists():
        return None
    with Ledger(path, readonly=True) as ledger:
        done = [run.summary for run in ledger.runs() if run.summary and run.summary["indexed"]]
    if not done:
        return None
    return sum(summary["indexed"] for summary in done), sum(summary["seconds"] for summary in done)


def indexed_images(home: Path, location: str, model: str) -> frozenset[tuple[str, str]] | None:
    """Dataset and image id of every indexed image in the ledger; None if the collection has no ledger."""
    path = ledger_path(home, location, collection_name(model))
    if not path.exists():
        return None
    with Ledger(path, readonly=True) as ledger:
        return frozenset(ledger.image_ids())
