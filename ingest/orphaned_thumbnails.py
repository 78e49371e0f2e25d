"""Removes the thumbnails of images that no collection has any more."""

from __future__ import annotations

from collections.abc import Collection as Container
from pathlib import Path

from ingest.thumbnails import thumbnail_path
from retrieval.errors import IndexFailure
from retrieval.index.interface import Collection, Index


def remove_orphaned_thumbnails(
    index: Index, collection: Collection, hashes: set[str], media_dir: Path | None, *, gone: Container[str] = ()
) -> bool:
    """Remove the thumbnails of those images among `hashes` (SHA-256) that no point of the index has any more.

    Points of `collection` in `gone` do not count. Gives False, and removes nothing, if some collection cannot be read.
    """
    if not media_dir or not hashes:
        return True
    orphaned = set(hashes)
    try:
        if index.damaged():
            return False
        for name in index.collections():
            is_own = name == collection.name
            for point in (collection if is_own else index.open(name)).scroll(limit=None):
                if not is_own or point.point_id not in gone:
                    orphaned.discard(str(point.payload["image_sha256"]))
    except IndexFailure:  # locked by another process, or damaged
        return False
    for sha256 in orphaned:
        thumbnail_path(media_dir, sha256).unlink(missing_ok=True)
    return True
