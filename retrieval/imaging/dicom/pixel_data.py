"""The bytes of the Pixel Data element (7FE0,0010): as they are, or joined from the fragments of a compressed frame."""

from __future__ import annotations

import struct

from retrieval.errors import TruncatedImage, UnreadableImage
from retrieval.imaging.dicom.header import Header

_PIXEL_DATA_TAGS = {b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"}  # little and big endian
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LIMIT_FRAGMENTS = 65_536


def has_pixel_data(header: Header) -> bool:
    """Whether the element after the header is Pixel Data of integers."""
    return _element_head(header)[:4] in _PIXEL_DATA_TAGS


def read_uncompressed(header: Header, size: int, name: str) -> tuple[bytes, str, int]:
    """At most `size` bytes of pixels and one of padding, the VR (`OB`, `OW` or empty), and the length of the element.

    Raises:
        UnreadableImage: the pixels are compressed.
    """
    vr, length = _value_head(header)
    if length == _UNDEFINED_LENGTH:
        raise UnreadableImage(f"{name} has compressed pixels, but its transfer syntax is an uncompressed one")
    return header.stream.read(min(length, size + size % 2)), vr, length


def read_compressed(header: Header, name: str) -> bytes:
    """The fragments of encapsulated pixel data, joined (PS3.5 A.4), without the first item, the Basic Offset Table.

    Raises:
        UnreadableImage: the pixels are not compressed, or not in at most 65,536 fragments.
        TruncatedImage: the file ends within them.
    """
    _, length = _value_head(header)
    if length != _UNDEFINED_LENGTH:
        raise UnreadableImage(f"{name} has uncompressed pixels, but its transfer syntax is a compressed one")
    fragments: list[bytes] = []
    while len(head := header.stream.read(8)) == 8 and head[:4] != _SEQUENCE_END:
        (length,) = struct.unpack("<I", head[4:])
        if head[:4] != _ITEM or length == _UNDEFINED_LENGTH:
            raise UnreadableImage(f"{name} has compressed pixels that are not divided into items (PS3.5 A.4)")
        fragment = header.stream.read(length)
        if len(fragment) < length:
            raise TruncatedImage(f"{name} ends within its compressed pixels; export or transfer it again")
        fragments.append(fragment)
        if len(fragments) > _LIMIT_FRAGMENTS:
            raise UnreadableImage(
                f"{name} has its compressed pixels in more than {_LIMIT_FRAGMENTS:,} fragments; radiographs have a few"
            )
    if len(fragments) < 2:
        raise TruncatedImage(f"{name} ends before its compressed pixels; export or transfer it again")
    return b"".join(fragments[1:])


def _element_head(header: Header) -> bytes:
    header.stream.seek(header.pixel_offset)
    return header.stream.read(12)


def _value_head(header: Header) -> tuple[str, int]:
    """VR (`OB`, `OW`, `UN`, or empty if implicit) and length of the pixel data; the stream is then at its first byte."""
    head = _element_head(header).ljust(12, b"\0")
    order = "<" if header.is_little_endian else ">"
    if head[4:6] in (b"OB", b"OW", b"UN"):
        return head[4:6].decode(), struct.unpack(order + "I", head[8:12])[0]
    header.stream.seek(header.pixel_offset + 8)
    return "", struct.unpack(order + "I", head[4:8])[0]
