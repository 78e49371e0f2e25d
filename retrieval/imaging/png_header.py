"""The header of a PNG file: bit depth, channels, significant bits."""

from __future__ import annotations

from dataclasses import dataclass

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LIMIT_CHUNKS = 64
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class PngHeader:
    """Bits per sample (1 to 16), channels per pixel with alpha, and the largest sBIT value of a channel, or None.

    Sources: PNG (third edition) 11.2.1 IHDR and 11.3.2.7 sBIT, which precedes the pixels.
    """

    depth: int
    channels: int
    significant_bits: int | None


def describe_png(data: bytes) -> PngHeader | None:
    """The header of `data`; None if they are no PNG. Never raises."""
    if not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 26:
        return None
    depth, channels = data[24], _CHANNELS.get(data[25], 0)
    position, significant = 8, None
    for _ in range(_LIMIT_CHUNKS):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"sBIT":
            stated = [bits for bits in data[position + 8 : position + 8 + min(length, 4)] if 0 < bits < depth]
            significant = max(stated, default=None)
        if kind in (b"IDAT", b"IEND", b""):
            break
        position += 12 + length
    return PngHeader(depth, channels, significant)
