"""The format of a file, from its first and last bytes."""

from __future__ import annotations

import re
from typing import Literal

HEAD_BYTES = 132
"""Bytes at the start that show the format: a DICOM preamble and its `DICM`."""

RasterFormat = Literal["PNG", "JPEG", "WEBP"]

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG = b"\xff\xd8\xff"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"

# A file without the preamble of PS3.10 begins with group 2, which is always explicit, or with one of the first elements of
# group 8. The length of these is below 256 if implicit; if explicit, the VR stands before it.
_BARE_DICOM = re.compile(
    rb"\x02\x00[\x00-\x02]\x00(UL|OB|UI)"
    rb"|\x08\x00(\x00\x00(UL\x04\x00|\x04\x00\x00\x00)|\x01\x00(UL|\x04\x00\x00\x00)"
    rb"|\x05\x00(CS|.\x00\x00\x00)|\x08\x00(CS|.\x00\x00\x00)|[\x12\x13]\x00(DA|TM)|[\x16\x18]\x00(UI|.\x00\x00\x00))",
    re.DOTALL,
)


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts with `head` (`HEAD_BYTES` of it) is DICOM: PS3.10 7.1, or a data set without preamble.

    The preamble may hold anything, such as an executable or a TIFF header, and is ignored.
    """
    return head[128:132] == b"DICM" or _BARE_DICOM.match(head) is not None


def raster_format(head: bytes) -> RasterFormat | None:
    """The picture format of a file that starts with `head`; None if it is not an accepted one."""
    if head.startswith(_PNG):
        return "PNG"
    if head.startswith(_JPEG):
        return "JPEG"
    return "WEBP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def is_cut_short(data: bytes, kind: RasterFormat) -> bool:
    """Whether a picture that could not be decoded lacks its end; otherwise it is damaged within."""
    match kind:
        case "PNG":
            return _PNG_END not in data
        case "JPEG":  # an end marker before the scan is that of a thumbnail
            return data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN) or _JPEG_SCAN not in data
        case "WEBP":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
