"""The header of a DICOM file: chosen tags only, within a bound on what is read, whatever the file claims."""

from __future__ import annotations

import logging
import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import BadPixelDescription, ImageBomb, ImageError, MissingExtra, TruncatedImage, UnreadableImage
from retrieval.imaging.warning_filter import ignore_decoder_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LIMIT_HEADER_BYTES = 4 * 1024 * 1024
"""Elements that are read and not skipped. Tables of 65,536 entries take 128 KiB each."""

# What a read costs beside its bytes, in time and in objects: a million empty items are 8 MB, and gigabytes once parsed.
_READ_COST_BYTES = 64

LIMIT_INFLATED_BYTES = 200 * 1024 * 1024
"""The pixels of the largest image that is accepted, in colour, and its header."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_BIG = "1.2.840.10008.1.2.2"


@dataclass(frozen=True, slots=True)
class Header:
    """The chosen elements before the pixels, how the file is encoded, and where in `stream` the pixels begin.

    `transfer_syntax` and `storage_class` are the empty string where the file does not say; `ended_early` tells that the
    file ends within an element.
    """

    dataset: Dataset
    transfer_syntax: str
    storage_class: str
    is_little_endian: bool
    stream: BinaryIO
    pixel_offset: int
    ended_early: bool

    def text(self, keyword: str) -> str:
        """The value of an element as text, stripped; of several values the first; empty where there is none."""
        return text_of(self.dataset, keyword)


def read_header(stream: BinaryIO, size: int, tags: Collection[int], *, name: str) -> Header:
    """Read the elements `tags` (and none but those) of the DICOM file of `size` bytes that `stream` is at the start of.

    A deflated file (PS3.5 A.5) is inflated in memory, at most `LIMIT_INFLATED_BYTES`.

    Raises:
        UnreadableImage: it cannot be parsed, or its header is longer than `LIMIT_HEADER_BYTES`.
        ImageBomb: it inflates to more than the limit.
        MissingExtra: pydicom is not installed.
    """
    require_pydicom()
    try:
        with ignore_decoder_warnings:
            return _read(stream, size, tags, name)
    except ImageError:
        raise
    # pydicom raises whatever its parsing of damaged bytes runs into. Its messages quote values, which may name a patient.
    except Exception as error:
        if isinstance(error, _HeaderTooLong) or isinstance(error.__context__, _HeaderTooLong):
            reason = f"is longer than the {LIMIT_HEADER_BYTES:,} bytes that are accepted"
        else:
            reason = f"cannot be read: {type(error).__name__}"
        raise UnreadableImage(f"{name} is DICOM, but its header {reason}") from None


def require_pydicom() -> None:
    """Make pydicom ready for use.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from pydicom import config
    except ImportError:
        raise MissingExtra(
            "reading DICOM needs pydicom and python-gdcm; install them with: pip install 'cxr-retrieval[dicom]'"
        ) from None
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").propagate = False  # it logs values, too


def text_of(dataset: Dataset, keyword: str) -> str:
    """As `Header.text`, of any data set. Never raises: a value that cannot be read is none."""
    try:
        with ignore_decoder_warnings:
            value = dataset.get(keyword)
            return _first(value) if value is not None else ""
    except Exception:
        return ""


def number_of(dataset: Dataset, keyword: str, name: str, default: float | None = None) -> float:
    """The value of a numeric element, finite; of several the first; `default` where the element is absent or empty.

    A decimal comma, which PS3.5 6.2 does not know and some writers use, is read as a point.

    Raises:
        BadPixelDescription: it has no such value, or it has none and there is no `default`.
    """
    text = text_of(dataset, keyword)
    if not text and default is not None and not _is_given(dataset, keyword):
        return float(default)
    try:
        value = float(_with_point(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadPixelDescription(f"{name} does not say its {keyword}" + (", or not as a number" if text else ""))
    return value


def integer_of(dataset: Dataset, keyword: str, name: str, default: int | None = None) -> int:
    """As `number_of`, for whole numbers.

    Raises:
        BadPixelDescription: as `number_of`, or it is not a whole number.
    """
    value = number_of(dataset, keyword, name, default)
    if not value.is_integer():
        raise BadPixelDescription(f"{name} has a {keyword} that is not a whole number")
    return int(value)


def integers_of(dataset: Dataset, keyword: str, name: str, *, is_little_endian: bool) -> NDArray[np.int64]:
    """The values of an element of 16-bit integers, which pydicom gives as numbers or, as `OW`, as bytes.

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
        raise BadPixelDescription(f"{name} does not say its {keyword}") from None


def count_of(dataset: Dataset, keyword: str) -> int:
    """How many values an element has; 0 where it is absent or cannot be read."""
    try:
        with ignore_decoder_warnings:
            return int(dataset[keyword].VM) if keyword in dataset else 0
    except Exception:
        return 0


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent or cannot be read."""
    from pydicom.sequence import Sequence

    try:
        with ignore_decoder_warnings:
            value = dataset.get(keyword)
    except Exception:
        return []
    return list(value) if isinstance(value, Sequence) else []


def _is_given(dataset: Dataset, keyword: str) -> bool:
    element = dataset.get_item(keyword)
    return element is not None and element.value not in (None, b"", "")


def _with_point(text: str) -> str:
    """`text` with its decimal comma as a point; of point and comma the last is the decimal one, the others group digits."""
    if "," not in text:
        return text
    whole, _, decimals = text.replace(",", ".").rpartition(".")
    if text.count(",") > 1 and "." not in text:
        return text
    return f"{whole.replace('.', '')}.{decimals}"


def _first(value: Any) -> str:
    from pydicom.multival import MultiValue

    if isinstance(value, MultiValue | list | tuple):
        value = value[0] if len(value) else ""
    return str(value).strip(" \0\t\r\n")


class _HeaderTooLong(Exception):
    """More was read than a header may hold."""


class _Bounded:
    """The stream that pydicom reads a header through: it never allocates more than there is, nor more than allowed."""

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
    from pydicom.filereader import _at_pixel_data, _read_file_meta_info, read_dataset
    from pydicom.tag import Tag

    bounded = _Bounded(stream, size)
    bounded.seek(132 if bounded.read(132)[128:] == b"DICM" else 0)
    # pydicom's own `dcmread` would inflate a deflated file without any bound.
    meta = _read_file_meta_info(bounded)  # type: ignore[arg-type]
    transfer_syntax = text_of(meta, "TransferSyntaxUID")
    if transfer_syntax == _DEFLATED:
        stream = BytesIO(_inflate(stream.read(max(0, size - stream.tell())), name))
        size = stream.getbuffer().nbytes
        bounded = _Bounded(stream, size)
    is_implicit, is_little = transfer_syntax == _IMPLICIT_LITTLE, transfer_syntax != _BIG
    if not transfer_syntax:
        is_implicit, is_little = _guess_encoding(bounded)
    bounded.ended_early = False
    dataset = read_dataset(
        bounded,  # type: ignore[arg-type]
        is_implicit,
        is_little,
        stop_when=_at_pixel_data,
        specific_tags=[Tag(tag) for tag in tags],
    )
    ended_early = bounded.ended_early or bounded.tell() > size
    storage_class = text_of(dataset, "SOPClassUID") or text_of(meta, "MediaStorageSOPClassUID")
    return Header(dataset, transfer_syntax, storage_class, is_little, stream, min(bounded.tell(), size), ended_early)


def _guess_encoding(bounded: _Bounded) -> tuple[bool, bool]:
    """Whether a data set without meta information is implicit, and whether little-endian, by its first element."""
    start = bounded.tell()
    head = bounded.read(6)
    bounded.seek(start)
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
        raise TruncatedImage(f"{name} ends before its deflated data do")
    return inflated
