"""Removing from a collection what its source no longer has, and keeping what merely cannot be reached today."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path

from ingest.ledger import Ledger
from ingest.orphaned_thumbnails import remove_unshown
from ingest.source_images import SeenImages
from ingest.summary import IngestSummary
from retrieval.index.completeness import begin, ingest_of
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.records import Source, Walked, point_id

Confirm = Callable[[int, int], bool]

SHRINK_FROM = 100
"""Images from which on a removal of more than half of a dataset needs a confirmation of its own.

A nightly job cannot tell a table that was cut off on its way from one that was shortened. Fewer are ingested again in a
minute.
"""

_BATCH = 500
_NAMED = 3

Gone = dict[str, tuple[str, str]]
"""Image id and SHA-256 by point."""


def prune_collection(
    index: Index,
    collection: Collection,
    ledger: Ledger,
    source: Source,
    seen: SeenImages,
    summary: IngestSummary,
    *,
    confirm: Confirm,
    allow_shrink: bool,
    media_dir: Path | None,
) -> None:
    """Remove the points that `find_gone` gives, if `confirm` says yes to how many of how many they are."""
    gone = find_gone(collection, ledger, source, seen, summary, allow_shrink=allow_shrink)
    if gone and confirm(len(gone), collection.count(Filters(dataset=source.dataset))):
        begin(collection, ingest_of(source.dataset))
        _remove(index, collection, ledger, source.dataset, gone, media_dir)
        summary.pruned = len(gone)
    _forget_pointless(collection, ledger, source.dataset, seen)


def find_gone(
    collection: Collection,
    ledger: Ledger,
    source: Source,
    seen: SeenImages,
    summary: IngestSummary,
    *,
    allow_shrink: bool,
) -> Gone:
    """The points of the source's dataset that a run over the whole source did not meet, and that may be removed.

    Kept, counted in `summary.kept` and explained in `summary.messages`: images whose file lies at or below an entry that
    could not be read; and, unless `allow_shrink`, those below a folder that is empty now (a mount point), those without
    a row in the ledger while some entry could not be read, all images if no image of the source could be read, and all
    if they are more than half of the dataset and at least `SHRINK_FROM`.
    """
    ours = Filters(dataset=source.dataset)
    gone: Gone = {
        point.point_id: (str(point.payload["image_id"]), str(point.payload["image_sha256"]))
        for point in collection.scroll(ours, limit=None)
        if point.point_id not in seen
    }
    if not gone:
        return {}

    def keep(points: Iterable[str], reason: str) -> None:
        count = len([gone.pop(point) for point in list(points)])
        if count:
            summary.kept += count
            summary.messages.append(f"{count:,} images are no longer found in the source and are kept: {reason}")

    empty = source.empty_folders() if isinstance(source, Walked) else frozenset()
    names = ledger.names(source.dataset, [image_id for image_id, _ in gone.values()])
    files = {point: names.get(image_id, {image_id}) for point, (image_id, _) in gone.items()}
    by_entry = {point: entry for point in gone if (entry := _found_above(files[point], seen.names))}
    keep(by_entry, f"they lie at or below what could not be read: {_some(by_entry.values())}")
    if allow_shrink:
        return gone
    more = "--allow-shrink removes them"
    by_folder = {point: folder for point in gone if (folder := _found_above(files[point], empty))}
    keep(by_folder, f"their folders are empty now, as where nothing is mounted: {_some(by_folder.values())}; {more}")
    if seen.names or empty:
        unknown = [point for point in gone if gone[point][0] not in names]
        keep(unknown, f"the ledger here does not know their files, and parts of the source could not be read; {more}")
    total = collection.count(ours)
    if summary.usable == 0:
        keep(gone, f"no image of the source could be read; {more}")
    elif len(gone) >= SHRINK_FROM and 2 * len(gone) > total:
        keep(gone, f"they are more than half of the {total:,} images of {source.dataset}; {more}")
    return gone


def _remove(
    index: Index, collection: Collection, ledger: Ledger, dataset: str, gone: Gone, media_dir: Path | None
) -> None:
    """Remove points, their rows in the ledger, and thumbnails that no collection of the index shows any more.

    Cut off anywhere, the same again finds what is left: points go last but for their rows, see `_forget_pointless`.
    """
    remove_unshown(index, collection, {sha256 for _, sha256 in gone.values()}, media_dir, gone=gone)
    for batch in _batches(list(gone)):
        collection.delete(batch)
        ledger.forget(dataset, [gone[point][0] for point in batch])


def _forget_pointless(collection: Collection, ledger: Ledger, dataset: str, seen: SeenImages) -> None:
    """Remove the ledger's rows of images that the run did not meet and the collection does not hold."""
    rows = {point_id(dataset, each): each for found, each in ledger.image_ids() if found == dataset}
    for batch in _batches([point for point in rows if point not in seen]):
        held = collection.fetch(batch)
        ledger.forget(dataset, [rows[point] for point in batch if point not in held])


def _found_above(names: Iterable[str], entries: frozenset[str] | set[str]) -> str:
    """The first of `entries` that is one of the paths `names` or a folder above one; the empty string if none is."""
    paths = (path for name in names for path in accumulate(name.split("/"), "{}/{}".format))
    return next((path for path in paths if path in entries), "")


def _batches(points: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(points)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _some(names: Iterable[str]) -> str:
    distinct = sorted(set(names))
    more = f" and {len(distinct) - _NAMED:,} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more
