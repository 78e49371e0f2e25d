"""The summary of an ingest, on stderr."""

from __future__ import annotations

from collections.abc import Mapping

from cxr.console import say
from ingest.summary import IngestSummary

LISTED_FILES = 20
"""Quarantined files that are listed by default."""

_TERM_CHARACTERS = 60


def print_summary(summary: IngestSummary) -> None:
    """Print counts, notes and the quarantined files with their reasons."""
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
        shown = ", ".join(f"{term[:_TERM_CHARACTERS]} {count}" for term, count in terms[:LISTED_FILES])
        more = f" and {len(terms) - LISTED_FILES} more" if len(terms) > LISTED_FILES else ""
        say(f"label terms in neither vocabulary, stored unchanged (images): {shown}{more}")
    if summary.incomplete:
        say(f"the collection is not complete: {summary.incomplete}")
    for item in summary.quarantined[:LISTED_FILES]:
        say(f"  quarantined [{item.code}] {item.file}: {item.detail}")
    if len(summary.quarantined) > LISTED_FILES:
        say(f"  … and {len(summary.quarantined) - LISTED_FILES} more; `cxr ingest status --all` lists them")


def describe_counts(counts: Mapping[str, int]) -> str:
    """`24 images of indiana, 600 images of phantom`, or `no images`."""
    return ", ".join(f"{count:,} images of {dataset}" for dataset, count in sorted(counts.items())) or "no images"
