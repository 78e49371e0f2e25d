"""Limits on the structure of a picture file, so that a small file cannot take long to decode.

Each limit is many times what normal files have. It is checked in one pass over the bytes, before decoding.
"""

from __future__ import annotations

import re
import struct

from retrieval.errors import ImageTooComplex
from retrieval.imaging.signatures import RasterFormat

LIMIT_SCANS = 64
"""Scans of one JPEG. Encoders write 1 to 10. Each scan is a pass over all pixels, however little data it has."""

LIMIT_SEGMENTS = 1_024
"""Segments of one JPEG, and chunks beside the pixels of PNG and WebP. A colour profile takes up to 255."""

LIMIT_PHOTOSHOP_SEGMENTS = 32
"""APP13 segments of one JPEG. Pillow parses each in Python."""

LIMIT_EXIF_BYTES = 128 * 1024
"""EXIF of one file; a segment holds 64 KiB. Its entries may all point to the same bytes, so the cost is quadratic."""

LIMIT_PADDING_BYTES = 64 * 1024
"""Fill bytes and garbage between the segments of one JPEG. Pillow reads them one by one."""

LIMIT_CHUNKS = 32_768
"""Chunks of one PNG. libpng divides 64 MiB of pixels into 8,192."""

_FILL = re.compile(rb"\xff+")
# Within a scan, FF 00 is a value and FF D0 to FF D7 are restart markers.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STANDALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_APP1, _APP13, _SOS, _EOI = 0xE1, 0xED, 0xDA, 0xD9


def require_simple_file(data: bytes, kind: RasterFormat, name: str) -> None:
    """Refuse a picture with too many parts. A damaged picture passes: its decoder reports the damage.

    Raises:
        ImageTooComplex: more scans, segments, chunks, padding or EXIF than the limits.
    """
    match kind:
        case "JPEG":
            require_simple_jpeg(data, name)
        case "PNG":
            _require_simple_png(data, name)
        case "WEBP":
            _require_simple_webp(data, name)


def require_simple_jpeg(data: bytes, name: str) -> None:
    """As `require_simple_file`, for JPEG and JPEG-LS data, also of DICOM (ISO 10918-1 B.1)."""
    position = 2
    segments = scans = padding = exif = photoshop = 0
    while fill := _FILL.search(data, position):
        padding += fill.end() - 1 - position
        _limit(padding, LIMIT_PADDING_BYTES, "bytes of padding", name)
        if fill.end() + 3 > len(data) or (marker := data[fill.end()]) == _EOI:
            return
        position = fill.end() + 1
        segments += 1
        _limit(segments, LIMIT_SEGMENTS + LIMIT_SCANS, "JPEG segments", name)
        if marker == 0 or marker in _STANDALONE:
            continue
        body = position + 2
        position += max(2, int.from_bytes(data[position:body], "big"))
        if marker == _APP1 and data[body : body + 4] == b"Exif":
            exif += position - body
            _limit(exif, LIMIT_EXIF_BYTES, "bytes of EXIF", name)
        elif marker == _APP13:
            photoshop += 1
            _limit(photoshop, LIMIT_PHOTOSHOP_SEGMENTS, "Photoshop segments", name)
        elif marker == _SOS:
            scans += 1
            _limit(scans, LIMIT_SCANS, "JPEG scans", name)
            after = _AFTER_SCAN.search(data, position)
            if after is None:
                return
            position = after.start()


def _require_simple_png(data: bytes, name: str) -> None:
    position, chunks, others = 8, 0, 0
    while len(head := data[position : position + 8]) == 8:
        length, kind = struct.unpack(">I4s", head)
        chunks += 1
        _limit(chunks, LIMIT_CHUNKS, "PNG chunks", name)
        if kind == b"eXIf":
            _limit(length, LIMIT_EXIF_BYTES, "bytes of EXIF", name)
        if kind == b"IEND":
            return
        if kind not in (b"IDAT", b"fdAT", b"fcTL"):  # an animation is refused by the decoder
            others += 1
            _limit(others, LIMIT_SEGMENTS, "PNG chunks beside its pixels", name)
        position += 12 + length


def _require_simple_webp(data: bytes, name: str) -> None:
    position, chunks = 12, 0
    while len(head := data[position : position + 8]) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind == b"ANMF":
            return
        if kind == b"EXIF":
            _limit(length, LIMIT_EXIF_BYTES, "bytes of EXIF", name)
        chunks += 1
        _limit(chunks, LIMIT_SEGMENTS, "WebP chunks", name)
        position += 8 + length + length % 2


def _limit(found: int, limit: int, what: str, name: str) -> None:
    if found > limit:
        raise ImageTooComplex(
            f"{name} has more than {limit:,} {what}, which would take long to decode; save it again with an image program"
        )
