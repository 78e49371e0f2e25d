"""What the command line says of an ingest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr.console import say

if TYPE_CHECKING:
    from ingest.summary import IngestSummary
    from retrieval.index.schema import CollectionMeta

SHOWN = 20
"""Quarantined files that are listed unless all are asked for."""

_SHOWN_CHARACTERS = 60


def print_summary(summary: IngestSummary) -> None:
    """Say what an ingest did, and why each quarantined file was."""
    changes = f"{summary.indexed} indexed, {summary.updated} updated, {summary.unchanged} unchanged"
    pruned = f", {summary.pruned} removed" if summary.pruned else ""
    say(
        f"{summary.collection}: {changes}{pruned}, {len(summary.quarantined)} quarantined "
        f"in {summary.seconds:.1f} s ({summary.images_per_second:.0f} images/s)"
    )
    say("views: " + ", ".join(f"{view} {count}" for view, count in summary.by_view.most_common()))
    say("most frequent findings: " + ", ".join(f"{name} {count}" for name, count in summary.by_finding.most_common(8)))
    for message in summary.messages:
        say(message)
    for note, count in summary.notes.most_common():
        say(f"  {count} images: {note}")
    if terms := summary.unknown_terms.most_common():
        shown = ", ".join(f"{term[:_SHOWN_CHARACTERS]} {count}" for term, count in terms[:SHOWN])
        more = f" and {len(terms) - SHOWN} more" if len(terms) > SHOWN else ""
        say(f"label terms in neither vocabulary, kept as they are (images): {shown}{more}")
    if summary.incomplete:
        say(f"the collection is not complete: {summary.incomplete}")
    for item in summary.quarantined[:SHOWN]:
        say(f"  quarantined [{item.code}] {item.file}: {item.detail}")
    if len(summary.quarantined) > SHOWN:
        say(f"  … and {len(summary.quarantined) - SHOWN} more; `cxr ingest status --all` lists them")


def describe_counts(meta: CollectionMeta) -> str:
    """The images of each dataset of a collection, as last counted."""
    return ", ".join(f"{name} {count:,} images" for name, count in meta.counts.items())
