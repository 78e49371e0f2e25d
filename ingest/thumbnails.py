"""Thumbnails: small WebP copies, named by the hash of the original file. The originals are never copied."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from retrieval.atomic_files import remove_abandoned_drafts, replace_file
from retrieval.errors import InvalidRequest
from retrieval.file_permissions import make_private_folder

THUMBNAIL_SIZE = 256
"""Largest width and height of a thumbnail, in pixels."""

LINK_NAME = "thumbnail.webp"
"""Last part of a link. The Qdrant dashboard shows a link as a picture only if it ends like the name of an image file."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def thumbnail_path(media_dir: Path, sha256: str) -> Path:
    """Path of the thumbnail of the image with this SHA-256 (64 hexadecimal digits); the file need not exist.

    Raises:
        InvalidRequest: not a SHA-256.
    """
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest(f"expected a SHA-256 of 64 lower-case hexadecimal digits, found {len(sha256)} characters")
    return media_dir / sha256[:2] / f"{sha256}.webp"


def thumbnail_link(public_url: str, sha256: str) -> str:
    """Address of the thumbnail of the image with this SHA-256, where browsers reach the service at `public_url`."""
    return f"{public_url}/v1/images/{sha256}/{LINK_NAME}"


def write_thumbnail(image: Image.Image, sha256: str, media_dir: Path, *, replace: bool = False) -> Path:
    """Write the thumbnail of `image` (at most `THUMBNAIL_SIZE` pixels each way, WebP without metadata); return its path.

    An existing thumbnail stays, unless `replace` is set.
    """
    path = thumbnail_path(media_dir, sha256)
    if replace or not path.exists():
        make_private_folder(path.parent)
        small = image.copy()
        small.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BILINEAR)
        with replace_file(path) as file:
            small.save(file, "WEBP", quality=80, method=2)
    return path


def remove_unfinished_thumbnails(media_dir: Path) -> None:
    """Remove the partial files that killed processes left."""
    for folder in media_dir.glob("??"):
        remove_abandoned_drafts(folder)
