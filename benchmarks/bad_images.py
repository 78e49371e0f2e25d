"""Small files that cost a decoder much: scans, segments and padding without end, and images of 64 million equal pixels."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

_SIDE = 8000  # 64 million pixels, the limit of an upload


def many_scans() -> bytes:
    """A progressive JPEG of 62 million pixels whose second scan, which is almost empty, stands there 4,000 times."""
    data = _jpeg(7900, progressive=True, quality=50)
    position = 2
    while data[position + 1] != 0xDA or data[position + 7] == 0:  # a start of scan of AC coefficients
        position = _segment_end(data, position)
    end = _segment_end(data, position)
    return data[:position] + data[position:end] * 4000 + b"\xff\xd9"


def many_exif_segments() -> bytes:
    """A small JPEG with 60,000 EXIF segments, 4 MB in all."""
    data = _jpeg(64)
    segment = b"\xff\xe1" + (58).to_bytes(2, "big") + b"Exif\0\0" + b"M" * 50
    return data[:2] + segment * 60_000 + data[2:]


def padding() -> bytes:
    """A small JPEG with 12 MB of 0xFF, which any marker may have before it."""
    data = _jpeg(64)
    return data[:2] + b"\xff" * 12_000_000 + data[2:]


def large(mode: str) -> Callable[[], bytes]:
    """A PNG of 64 million equal pixels of `mode`, 60 to 250 kB."""

    def make() -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, (_SIDE, _SIDE)).save(buffer, "PNG", compress_level=9)
        return buffer.getvalue()

    return make


def large_noise() -> bytes:
    """A JPEG of 36 million pixels of noise: an honest file that takes its time."""
    pixels = np.random.default_rng(0).integers(0, 256, (6000, 6000), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


BAD_IMAGES: dict[str, Callable[[], bytes]] = {
    "many scans": many_scans,
    "many EXIF segments": many_exif_segments,
    "padding": padding,
    "64 million pixels, L": large("L"),
    "64 million pixels, RGB": large("RGB"),
    "64 million pixels, RGBA": large("RGBA"),
    "64 million pixels, 16 bit": large("I;16"),
    "64 million pixels, LA": large("LA"),
    "36 million pixels of noise": large_noise,
}


def _jpeg(side: int, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _segment_end(data: bytes, position: int) -> int:
    """Where the segment at `position` ends, the entropy-coded data of a scan included."""
    end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if data[position + 1] == 0xDA:
        while data[end] != 0xFF or data[end + 1] in (0, *range(0xD0, 0xD8)):
            end += 1
    return end
