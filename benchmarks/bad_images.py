"""Small files that take a decoder much time or memory: many scans, segments, padding or chunks, 64 million pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

LARGE_MODES = ("L", "LA", "P", "RGB", "RGBA", "I;16")


def many_scans(scans: int) -> bytes:
    """A progressive JPEG of 62 million pixels that repeats its almost empty first AC scan `scans` times."""
    data, position = encode(Image.new("L", (7900, 7900), 128), "JPEG", progressive=True, quality=50), 2
    while data[position + 1] != 0xDA or data[position + 7] == 0:  # up to the first scan of AC coefficients
        position = _segment_end(data, position)
    end = _segment_end(data, position)
    return data[:position] + data[position:end] * scans + b"\xff\xd9"


def many_exif_segments() -> bytes:
    """A small JPEG with 60,000 EXIF segments, 4 MB in all."""
    segment = b"\xff\xe1" + struct.pack(">H", 58) + b"Exif\0\0" + b"M" * 50
    return _behind_first_marker(segment * 60_000)


def padding() -> bytes:
    """A small JPEG with 60 MB of 0xFF, which is legal before a marker."""
    return _behind_first_marker(b"\xff" * 60_000_000)


def many_chunks() -> bytes:
    """A small PNG with four million empty chunks."""
    data = encode(Image.new("L", (64, 64)), "PNG")
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return data[:33] + empty * 4_000_000 + data[33:]


def large(mode: str) -> bytes:
    """A valid PNG of 64 million pixels with contrast in few bytes; `mode` is that of Pillow."""
    grey = Image.linear_gradient("L").resize((8000, 8000))
    if mode == "I;16":
        return encode(Image.fromarray(np.asarray(grey).astype(np.uint16) << 8), "PNG")
    image = grey.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.radial_gradient("L").resize(grey.size))
    return encode(image, "PNG")


def large_noise() -> bytes:
    """A valid JPEG of 36 million pixels of noise, which is slow to decode."""
    pixels = np.random.default_rng(0).integers(0, 256, (6000, 6000), np.uint8)
    return encode(Image.fromarray(pixels), "JPEG", quality=60)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of `image` as a file of `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


BAD_IMAGES: dict[str, Callable[[], bytes]] = {
    "12,000 scans": partial(many_scans, 12_000),
    "60 scans": partial(many_scans, 60),
    "60,000 EXIF segments": many_exif_segments,
    "60 MB of padding": padding,
    "4 million PNG chunks": many_chunks,
    **{f"64 million pixels {mode}": partial(large, mode) for mode in LARGE_MODES},
    "36 million pixels of noise": large_noise,
}


def _behind_first_marker(inserted: bytes) -> bytes:
    data = encode(Image.new("L", (64, 64), 128), "JPEG")
    return data[:2] + inserted + data[2:]


def _segment_end(data: bytes, position: int) -> int:
    """The end of the segment at `position`, with the entropy-coded data of a scan."""
    end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if data[position + 1] == 0xDA:
        while data[end] != 0xFF or data[end + 1] in (0, *range(0xD0, 0xD8)):
            end += 1
    return end
