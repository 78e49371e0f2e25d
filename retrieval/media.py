"""Thumbnails: re-encoded, bounded, addressed by the hash of the original, which is never copied."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from retrieval.drafts import replacing, sweep_drafts
from retrieval.errors import InvalidRequest
from retrieval.private import make_private_folder

SIDE = 256
_SHA256 = re.compile(r"[0-9a-f]{64}")


def thumbnail_path(media_dir: Path, sha256: str) -> Path:
    """Where the thumbnail of the image with this SHA-256 (64 hexadecimal digits) lies, or would lie.

    Raises:
        InvalidRequest: not a SHA-256.
    """
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest("an image is addressed by its SHA-256, 64 hexadecimal digits")
    return media_dir / sha256[:2] / f"{sha256}.webp"


def write_thumbnail(image: Image.Image, sha256: str, media_dir: Path, *, replace: bool = False) -> Path:
    """Write the thumbnail of `image` (at most `SIDE` pixels a side, WebP without metadata) unless it is there.

    `replace` writes it also then.
    """
    path = thumbnail_path(media_dir, sha256)
    if replace or not path.exists():
        make_private_folder(path.parent)
        small = image.copy()
        small.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        with replacing(path) as file:
            small.save(file, "WEBP", quality=80, method=2)
    return path


def sweep_thumbnails(media_dir: Path) -> None:
    """Remove what killed processes left half written."""
    for folder in media_dir.glob("??"):
        sweep_drafts(folder)
