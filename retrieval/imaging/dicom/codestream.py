"""The header of a compressed frame, to be compared with the DICOM header before decoding."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
_LIMIT_PADDING_BYTES = 16
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_JP2_BOX = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True, slots=True)
class Codestream:
    """Rows, columns, samples per pixel and bits per sample. `process` is the marker of a JPEG frame, 0 for JPEG 2000."""

    rows: int
    columns: int
    samples: int
    precision: int
    process: int


def describe_codestream(frame: bytes) -> Codestream | None:
    """The frame header of JPEG (ISO 10918-1 B.2.2), JPEG-LS (ISO 14495-1) or JPEG 2000 (ISO 15444-1 A.5.1) data.

    None if there is none, or it cannot be read.
    """
    try:
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
        start = frame.index(b"\xff\x4f\xff\x51") if frame.startswith(_JP2_BOX) else 0
        return _jpeg_2000(frame, start) if frame[start : start + 4] == b"\xff\x4f\xff\x51" else None
    except (struct.error, ValueError, IndexError):
        return None


def has_end(frame: bytes) -> bool:
    """Whether the codestream has its end marker, with up to 16 bytes of padding. The marker cannot occur within the data."""
    return _END in frame[-_LIMIT_PADDING_BYTES:]


def _jpeg(frame: bytes) -> Codestream | None:
    position = 2
    while True:
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", frame, position + 2)
        if marker in _FRAME_HEADERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, position + 4)
            return Codestream(rows, columns, samples, precision, marker)
        position += 2 + length


def _jpeg_2000(frame: bytes, start: int) -> Codestream:
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    (samples,) = struct.unpack_from(">H", frame, start + 40)
    depths = frame[start + 42 : start + 42 + 3 * samples : 3]
    return Codestream(bottom - top, right - left, samples, 1 + max(depth & 0x7F for depth in depths), 0)
