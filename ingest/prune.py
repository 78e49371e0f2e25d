"""Prune: removes the images that the source no longer has, and keeps those that are only unreachable today."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path

from ingest.ledger import Ledger
from ingest.orphaned_thumbnails import remove_orphaned_thumbnails
from ingest.run_mode import ConfirmPrune
from ingest.seen_images import SeenImages
from ingest.summary import IngestSummary
from retrieval.index.completeness import ingest_job, record_pending_job
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.progress import Progress, StageProgress
from retrieval.records import Source, Walked, point_id

SHRINK_FROM = 100
"""From this number of images on, a prune of more than half of a dataset needs `allow_shrink`.

A nightly run cannot distinguish a truncated table from a shortened one. Fewer images are ingested again in a minute.
"""

_BATCH = 500
_NAMED = 3

GoneImages = dict[str, tuple[str, str]]
"""Image id and SHA-256 by point id."""


def prune_collection(
    index: Index,
    collection: Collection,
    ledger: Ledger,
    source: Source,
    seen: SeenImages,
    summary: IngestSummary,
    *,
    confirm: ConfirmPrune,
    allow_shrink: bool,
    media_dir: Path | None,
    progress: StageProgress,
) -> None:
    """Remove the points that `find_gone` gives, if `confirm` agrees."""
    progress.stage("Looking for images to remove")
    gone = find_gone(collection, ledger, source, seen, summary, allow_shrink=allow_shrink)
    if gone and confirm(len(gone), collection.count(Filters(dataset=source.dataset))):
        progress.stage("Removing", "images")
        record_pending_job(collection, ingest_job(source.dataset))
        _remove(index, collection, ledger, source.dataset, gone, media_dir, progress)
        summary.pruned = len(gone)
    _forget_rows_without_point(collection, ledger, source.dataset, seen)


def find_gone(
    collection: Collection,
    ledger: Ledger,
    source: Source,
    seen: SeenImages,
    summary: IngestSummary,
    *,
    allow_shrink: bool,
) -> GoneImages:
    """The points of the source's dataset that a run over the whole source did not meet, and that may be removed.

    Some images are kept, counted in `summary.kept`, and explained in `summary.messages`. Always kept: images at or below a
    path that could not be read. Kept unless `allow_shrink`:

    - images in a folder that is empty now, such as a mount point;
    - images without a row in the ledger, if some path could not be read or some folder is empty;
    - all images, if no image of the source could be read;
    - all images, if at least `SHRINK_FROM` and more than half of the dataset are gone.
    """
    of_dataset = Filters(dataset=source.dataset)
    gone: GoneImages = {
        point.point_id: (str(point.payload["image_id"]), str(point.payload["image_sha256"]))
        for point in collection.scroll(of_dataset, limit=None)
        if point.point_id not in seen
    }
    if not gone:
        return {}

    def keep(points: Iterable[str], reason: str) -> None:
        count = len([gone.pop(point) for point in list(points)])
        if count:
            summary.kept += count
            summary.messages.append(f"{count:,} images are no longer found in the source and are kept: {reason}")

    unreadable = seen.quarantined_names
    empty_folders = source.empty_folders() if isinstance(source, Walked) else frozenset()
    names = ledger.names(source.dataset, [image_id for image_id, _ in gone.values()])
    files = {point: names.get(image_id, {image_id}) for point, (image_id, _) in gone.items()}
    below_unreadable = {point: path for point in gone if (path := _first_at_or_above(files[point], unreadable))}
    keep(below_unreadable, f"they lie at or below paths that could not be read: {_some(below_unreadable.values())}")
    if allow_shrink:
        return gone
    hint = "--allow-shrink removes them"
    in_empty = {point: folder for point in gone if (folder := _first_at_or_above(files[point], empty_folders))}
    keep(in_empty, f"their folders are empty now, perhaps not mounted: {_some(in_empty.values())}; {hint}")
    if unreadable or empty_folders:
        unknown = [point for point in gone if gone[point][0] not in names]
        keep(unknown, f"the ledger here does not know their files, and parts of the source could not be read; {hint}")
    total = collection.count(of_dataset)
    if summary.usable == 0:
        keep(gone, f"no image of the source could be read; {hint}")
    elif len(gone) >= SHRINK_FROM and 2 * len(gone) > total:
        keep(gone, f"they are more than half of the {total:,} images of {source.dataset}; {hint}")
    return gone


def _remove(
    index: Index,
    collection: Collection,
    ledger: Ledger,
    dataset: str,
    gone: GoneImages,
    media_dir: Path | None,
    progress: Progress,
) -> None:
    """Remove orphaned thumbnails first, then points, then their ledger rows.

    In this order a prune that was killed at any moment is completed by the next prune.
    """
    remove_orphaned_thumbnails(index, collection, {sha256 for _, sha256 in gone.values()}, media_dir, gone=gone)
    done = 0
    for batch in _batches(list(gone)):
        collection.delete(batch)
        ledger.forget(dataset, [gone[point][0] for point in batch])
        done += len(batch)
        progress(done, len(gone))


def _forget_rows_without_point(collection: Collection, ledger: Ledger, dataset: str, seen: SeenImages) -> None:
    """Remove the ledger rows of images that the run did not meet and the collection does not hold."""
    rows = {point_id(dataset, image_id): image_id for name, image_id in ledger.image_ids() if name == dataset}
    for batch in _batches([point for point in rows if point not in seen]):
        held = collection.fetch(batch)
        ledger.forget(dataset, [rows[point] for point in batch if point not in held])


def _first_at_or_above(names: Iterable[str], paths: frozenset[str] | set[str]) -> str:
    """The first of `paths` that is one of `names` or a folder above one; the empty string if none is."""
    above = (path for name in names for path in accumulate(name.split("/"), "{}/{}".format))
    return next((path for path in above if path in paths), "")


def _batches(points: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(points)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _some(names: Iterable[str]) -> str:
    distinct = sorted(set(names))
    more = f" and {len(distinct) - _NAMED:,} more" if len(distinct) > _NAMED else ""
    return ", ".join(distinct[:_NAMED]) + more
