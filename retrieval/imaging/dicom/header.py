"""The header of a DICOM file: only the elements that the caller names, within a limit on what is read."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadPixelDescription, ImageBomb, ImageError, TruncatedImage, UnreadableImage
from retrieval.imaging.dicom.extras import (
    is_multi_value,
    items_of_sequence,
    read_elements,
    read_file_meta,
    require_pydicom,
)
from retrieval.imaging.dicom.transfer_syntaxes import (
    DEFLATED_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
)
from retrieval.imaging.warning_filter import ignore_decoder_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LIMIT_HEADER_BYTES = 4 * 1024 * 1024
"""Bytes of the elements that are read; skipped elements do not count. A table of 65,536 entries takes 128 KiB."""

# The cost of a read beside its bytes, in time and objects: a million empty items are 8 MB, and gigabytes once parsed.
_READ_COST_BYTES = 64

LIMIT_INFLATED_BYTES = 200 * 1024 * 1024
"""Room for the pixels of the largest accepted image, in colour, and its header."""

_PREAMBLE_BYTES = 132  # PS3.10 7.1: 128 bytes of any content, then DICM


@dataclass(frozen=True, slots=True)
class Header:
    """The chosen elements before the pixels, the encoding of the file, and where in `stream` the pixels begin.

    `transfer_syntax` and `storage_class` are UIDs, or the empty string where the file has none. `ended_early`: the file ends
    within an element.
    """

    dataset: Dataset
    transfer_syntax: str
    storage_class: str
    is_little_endian: bool
    stream: BinaryIO
    pixel_offset: int
    ended_early: bool

    def text(self, keyword: str) -> str:
        """The value of an element as stripped text; the first of several; the empty string if there is none."""
        return text_of(self.dataset, keyword)


def read_header(stream: BinaryIO, size: int, tags: Collection[int], *, name: str) -> Header:
    """The elements `tags`, and no others, of the DICOM file of `size` bytes that starts at the position of `stream`.

    A deflated file (PS3.5 A.5) is inflated in memory, up to `LIMIT_INFLATED_BYTES`.

    Raises:
        UnreadableImage: the header cannot be parsed, or is longer than `LIMIT_HEADER_BYTES`.
        ImageBomb: the file inflates to more than the limit.
        MissingExtra: pydicom is not installed.
    """
    require_pydicom()
    try:
        with ignore_decoder_warnings:
            return _read(stream, size, tags, name)
    except ImageError:
        raise
    # pydicom raises any error on damaged bytes. Its messages quote values, which may name a patient, so none is repeated.
    except Exception as error:
        if isinstance(error, _HeaderTooLong) or isinstance(error.__context__, _HeaderTooLong):
            reason = f"is longer than the {LIMIT_HEADER_BYTES:,} bytes that are accepted"
        else:
            reason = f"cannot be read ({type(error).__name__}); export or transfer it again"
        raise UnreadableImage(f"{name} is DICOM, but its header {reason}") from None


def text_of(dataset: Dataset, keyword: str) -> str:
    """As `Header.text`, of any data set. Never raises: a value that cannot be read counts as missing."""
    try:
        with ignore_decoder_warnings:
            value = dataset.get(keyword)
            return _first_text(value) if value is not None else ""
    except Exception:
        return ""


def number_of(dataset: Dataset, keyword: str, name: str, default: float | None = None) -> float:
    """The finite value of a numeric element; the first of several; `default` if the element is absent or empty.

    Some writers use a decimal comma, which PS3.5 6.2 does not allow; it is read as a point.

    Raises:
        BadPixelDescription: the element is no number, or is missing and there is no `default`.
    """
    text = text_of(dataset, keyword)
    if not text and default is not None and not _has_value(dataset, keyword):
        return float(default)
    try:
        value = float(_with_decimal_point(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        problem = "that is not a number" if text else "without a value"
        raise BadPixelDescription(f"{name} has a {keyword} {problem}; a number is needed to show the image")
    return value


def integer_of(dataset: Dataset, keyword: str, name: str, default: int | None = None) -> int:
    """As `number_of`, for whole numbers.

    Raises:
        BadPixelDescription: as `number_of`, or the value is not a whole number.
    """
    value = number_of(dataset, keyword, name, default)
    if not value.is_integer():
        raise BadPixelDescription(f"{name} has a {keyword} that is not a whole number")
    return int(value)


def integers_of(dataset: Dataset, keyword: str, name: str, *, is_little_endian: bool) -> NDArray[np.int64]:
    """The values of an element of 16-bit integers, which pydicom returns as numbers or, for the VR `OW`, as bytes.

    Raises:
        BadPixelDescription: there are none.
    """
    try:
        with ignore_decoder_warnings:
            value = dataset.get(keyword)
            if isinstance(value, bytes):
                order = "<u2" if is_little_endian else ">u2"
                return np.frombuffer(value[: len(value) // 2 * 2], dtype=order).astype(np.int64)
            return np.atleast_1d(np.asarray(value, dtype=np.int64))
    except Exception:
        raise BadPixelDescription(f"{name} has no readable {keyword}; whole numbers are expected") from None


def count_of(dataset: Dataset, keyword: str) -> int:
    """The value multiplicity of an element (PS3.5 6.4); 0 if it is absent or cannot be read."""
    try:
        with ignore_decoder_warnings:
            return int(dataset[keyword].VM) if keyword in dataset else 0
    except Exception:
        return 0


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty if it is absent or cannot be read."""
    try:
        with ignore_decoder_warnings:
            value = dataset.get(keyword)
    except Exception:
        return []
    return items_of_sequence(value)


def _has_value(dataset: Dataset, keyword: str) -> bool:
    element = dataset.get_item(keyword)
    return element is not None and element.value not in (None, b"", "")


def _with_decimal_point(text: str) -> str:
    """`text` with its decimal comma as a point. The last point or comma is the decimal one; others group digits."""
    if "," not in text:
        return text
    whole, _, decimals = text.replace(",", ".").rpartition(".")
    if text.count(",") > 1 and "." not in text:
        return text
    return f"{whole.replace('.', '')}.{decimals}"


def _first_text(value: Any) -> str:
    if is_multi_value(value):
        value = value[0] if len(value) else ""
    return str(value).strip(" \0\t\r\n")


class _HeaderTooLong(Exception):
    """More was read than a header may hold."""


class _LimitedReader:
    """The stream through which pydicom reads a header, within the size of the file and the limit on headers."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self._spent = 0
        self.ended_early = False

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._stream.tell())
        taken = left if count < 0 else min(count, left)
        self._spent += taken + _READ_COST_BYTES
        if self._spent > LIMIT_HEADER_BYTES:
            raise _HeaderTooLong
        if 0 < taken < count or (taken < count and count != 8):
            self.ended_early = True
        return self._stream.read(taken)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _read(stream: BinaryIO, size: int, tags: Collection[int], name: str) -> Header:
    reader = _LimitedReader(stream, size)
    reader.seek(_PREAMBLE_BYTES if reader.read(_PREAMBLE_BYTES)[128:] == b"DICM" else 0)
    meta = read_file_meta(reader)
    transfer_syntax = text_of(meta, "TransferSyntaxUID")
    if transfer_syntax == DEFLATED_LITTLE_ENDIAN:
        stream = BytesIO(_inflate(stream.read(max(0, size - stream.tell())), name))
        size = stream.getbuffer().nbytes
        reader = _LimitedReader(stream, size)
    is_implicit, is_little = transfer_syntax == IMPLICIT_LITTLE_ENDIAN, transfer_syntax != EXPLICIT_BIG_ENDIAN
    if not transfer_syntax:
        is_implicit, is_little = _guess_encoding(reader)
    reader.ended_early = False
    dataset = read_elements(reader, tags, is_implicit=is_implicit, is_little_endian=is_little)
    ended_early = reader.ended_early or reader.tell() > size
    storage_class = text_of(dataset, "SOPClassUID") or text_of(meta, "MediaStorageSOPClassUID")
    return Header(dataset, transfer_syntax, storage_class, is_little, stream, min(reader.tell(), size), ended_early)


def _guess_encoding(reader: _LimitedReader) -> tuple[bool, bool]:
    """Whether a data set without File Meta Information is implicit, and little-endian, from its first element."""
    start = reader.tell()
    head = reader.read(6)
    reader.seek(start)
    if len(head) < 6:
        return True, True
    is_explicit = head[4:6].isalpha() and head[4:6].isupper()
    is_little = not is_explicit or struct.unpack("<H", head[:2])[0] < 0x0400
    return not is_explicit, is_little


def _inflate(data: bytes, name: str) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data, LIMIT_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise ImageBomb(f"{name} inflates to more than the {LIMIT_INFLATED_BYTES:,} bytes that are accepted")
    if not inflater.eof:
        raise TruncatedImage(f"{name} ends within its deflated data; export or transfer it again")
    return inflated
