"""Removing the thumbnails of images that a run has taken out of a collection, where nothing else shows them."""

from __future__ import annotations

from collections.abc import Collection as Points
from pathlib import Path

from ingest.thumbnails import thumbnail_path
from retrieval.errors import IndexFailure
from retrieval.index.interface import Collection, Index


def remove_unshown(
    index: Index, collection: Collection, hashes: set[str], media_dir: Path | None, *, gone: Points[str] = ()
) -> bool:
    """Remove the thumbnails of the images of these SHA-256 that no point of the index has, those in `gone` not counted.

    `gone` are points of `collection`. Where a collection cannot be read nothing is removed, and the answer is False.
    """
    if not media_dir or not hashes:
        return True
    unshown = set(hashes)
    try:
        if index.damaged():
            return False
        for name in index.collections():
            here = name == collection.name
            for point in (collection if here else index.open(name)).scroll(limit=None):
                if not here or point.point_id not in gone:
                    unshown.discard(str(point.payload["image_sha256"]))
    except IndexFailure:  # locked by another process, or damaged
        return False
    for sha256 in unshown:
        thumbnail_path(media_dir, sha256).unlink(missing_ok=True)
    return True
