"""The pixel data of a DICOM file -> the samples as they were stored, by way of whichever compression it uses."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import (
    BadPixelDescription,
    ImageBomb,
    MultiFrame,
    NoPixels,
    TruncatedImage,
    UnreadableImage,
    UnsupportedTransferSyntax,
)
from retrieval.imaging.complexity import require_simple_jpeg
from retrieval.imaging.dicom.codestream import Codestream, describe_codestream, has_end
from retrieval.imaging.dicom.gdcm_codec import decode_by_gdcm
from retrieval.imaging.dicom.header import Header, integer_of
from retrieval.imaging.warning_filter import ignore_decoder_warnings

Samples = NDArray[np.uint8] | NDArray[np.uint16]

# PS3.6 annex A. Pillow decodes what it can: unlike GDCM, it takes damaged data for an error.
_NATIVE = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"}
_RLE = {"1.2.840.10008.1.2.5"}
_JPEG = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}
_JPEG_2000 = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
_LOSSLESS = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}

_GREY = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"}

_PIXEL_DATA = {b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"}
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_LIMIT_FRAGMENTS = 65_536


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module (PS3.3 C.7.6.3), checked; `bits_allocated` is 8 or 16, `samples` 1 or 3."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric: str
    is_planar: bool
    notes: tuple[str, ...] = ()
    """What of the description could not be so, and was read otherwise."""

    @property
    def size(self) -> int:
        """Bytes of the one frame, uncompressed (PS3.3 C.7.6.3.1.2: YBR_FULL_422 has two pixels in four bytes)."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated // 8

    @property
    def working_bytes(self) -> int:
        """Bytes that decoding and showing the frame takes at its highest: the decoder's copies, the samples, the result."""
        return self.rows * self.columns * self.samples * (6 if self.bits_allocated == 8 else 12)


def describe_pixels(header: Header, *, name: str, limit_pixels: int) -> PixelDescription:
    """What the header says of the pixels.

    Raises:
        NoPixels, TruncatedImage: there is no pixel data, because there is none or because the file ends before it.
        BadPixelDescription: an element is missing or impossible.
        ImageBomb, MultiFrame: more than `limit_pixels` pixels; more than one frame.
    """
    if _element(header)[:4] not in _PIXEL_DATA:
        if header.ended_early:
            raise TruncatedImage(f"{name} ends within its header")
        raise NoPixels(f"{name} is DICOM without integer pixel data")

    def number(keyword: str, default: int | None = None) -> int:
        return integer_of(header.dataset, keyword, name, default)

    rows, columns, frames = number("Rows"), number("Columns"), number("NumberOfFrames", 1)
    if rows < 1 or columns < 1:
        raise BadPixelDescription(f"{name} has {rows} rows and {columns} columns")
    if rows * columns * max(frames, 1) > limit_pixels:
        raise ImageBomb(f"{name} is {columns} x {rows} x {frames} frames; at most {limit_pixels:,} pixels are accepted")
    if frames > 1:
        raise MultiFrame(f"{name} has {frames} frames; a radiograph has one")
    photometric = header.text("PhotometricInterpretation").upper()
    if photometric not in _GREY | _COLOUR:
        raise BadPixelDescription(f"{name} has no Photometric Interpretation that is known")
    samples = number("SamplesPerPixel", 1 if photometric in _GREY else 3)
    if samples != (1 if photometric in _GREY else 3):
        raise BadPixelDescription(f"{name} has {samples} samples a pixel, which {photometric} has not")
    allocated, stored, high_bit, notes = _bits(number("BitsAllocated"), number("BitsStored", 0), number("HighBit", -1))
    if allocated not in (8, 16):
        raise BadPixelDescription(f"{name} has {allocated} bits allocated; radiographs have 8 or 16")
    return PixelDescription(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit,
        is_signed=number("PixelRepresentation", 0) == 1,
        photometric=photometric,
        is_planar=number("PlanarConfiguration", 0) == 1,
        notes=notes,
    )


def _bits(allocated: int, stored: int, high_bit: int) -> tuple[int, int, int, tuple[str, ...]]:
    """Bits allocated, bits stored and high bit, those that cannot be so replaced; and notes on them."""
    notes: list[str] = []
    if allocated == 8 < stored <= 16:
        allocated = 16
        notes.append("BitsAllocated 8 is less than BitsStored: 16 used")
    if not 1 <= stored <= allocated:
        stored = allocated
        notes.append("BitsStored is missing or impossible: BitsAllocated used")
    if not stored - 1 <= high_bit < allocated:
        if high_bit != -1:
            notes.append("HighBit is impossible: BitsStored used")
        high_bit = stored - 1
    return allocated, stored, high_bit, tuple(notes)


def read_samples(header: Header, pixels: PixelDescription, *, name: str) -> tuple[Samples, bool]:
    """The stored samples: [rows, columns], or RGB [rows, columns, 3] for colour; and whether they are raw words.

    Raw words are cells of `bits_allocated` bits that hold the value somewhere within (`high_bit`) and other bits around
    it; otherwise the value stands at bit 0. Signed values are in two's complement. Where 16 bits are allocated and the
    data have 8 bits a sample, the samples are uint8.

    Raises:
        TruncatedImage: fewer samples than the header announces, or compressed data without their end.
        BadPixelDescription: the compressed data have another size than the header says.
        UnsupportedTransferSyntax: no decoder for this compression, or for this variant of it.
        UnreadableImage: the decoder fails.
    """
    syntax = header.transfer_syntax
    if syntax in _NATIVE:
        return _native(header, pixels, name), True
    if syntax not in _RLE | _JPEG | _JPEG_2000 | _LOSSLESS:
        raise UnsupportedTransferSyntax(f"{name} is compressed in a way that is not supported here")
    frame = _frame(header, name)
    if syntax in _RLE:
        return _rgb(_run_length(frame, pixels, name), pixels), True
    codestream = _checked_codestream(frame, pixels, name)
    if syntax in _LOSSLESS:
        return _rgb(_lossless(frame, codestream, pixels, syntax, name), pixels), False
    if syntax in _JPEG and codestream.precision != 8:
        raise UnsupportedTransferSyntax(f"{name} is JPEG of {codestream.precision} bits, which is not supported here")
    # The container is that of the codestream, whatever the header says of it.
    return _by_pydicom(frame, pixels, 8 if codestream.precision <= 8 else 16, syntax, name), False


def _element(header: Header) -> bytes:
    header.stream.seek(header.pixel_offset)
    return header.stream.read(12)


def _pixel_value(header: Header) -> tuple[str, int]:
    """The type (`OB`, `OW` or unknown) and length of the pixel data; the stream is then at its first byte."""
    head = _element(header).ljust(12, b"\0")
    order = "<" if header.is_little_endian else ">"
    if head[4:6] in (b"OB", b"OW", b"UN"):
        return head[4:6].decode(), struct.unpack(order + "I", head[8:12])[0]
    header.stream.seek(header.pixel_offset + 8)
    return "", struct.unpack(order + "I", head[4:8])[0]


def _native(header: Header, pixels: PixelDescription, name: str) -> Samples:
    kind, length = _pixel_value(header)
    if length == _UNDEFINED:
        raise UnreadableImage(f"{name} says that its pixels are not compressed, and they are")
    data = header.stream.read(min(length, pixels.size + pixels.size % 2))
    if pixels.bits_allocated == 16 and len(data) == length == (half := pixels.size // 2) + half % 2:
        pixels = replace(pixels, bits_allocated=8, bits_stored=8, high_bit=7)
    if len(data) < pixels.size:
        raise TruncatedImage(f"{name} has {len(data):,} bytes of pixels; its header announces {pixels.size:,}")
    if not header.is_little_endian and (kind == "OW" or pixels.bits_allocated == 16):
        data = np.frombuffer(data[: len(data) // 2 * 2], dtype=">u2").astype("<u2").tobytes()
    if pixels.samples > 1:
        return _by_pydicom(data, pixels, pixels.bits_allocated, "1.2.840.10008.1.2.1", name)
    cells = np.frombuffer(data, dtype="<u2" if pixels.bits_allocated == 16 else np.uint8)
    return cells[: pixels.rows * pixels.columns].reshape(pixels.rows, pixels.columns)


def _frame(header: Header, name: str) -> bytes:
    """The fragments of encapsulated pixel data, joined (PS3.5 A.4); the first item, a table of offsets, is left out."""
    _, length = _pixel_value(header)
    if length != _UNDEFINED:
        raise UnreadableImage(f"{name} says that its pixels are compressed, and they are not")
    fragments: list[bytes] = []
    while len(head := header.stream.read(8)) == 8 and head[:4] != _SEQUENCE_END:
        (length,) = struct.unpack("<I", head[4:])
        if head[:4] != _ITEM or length == _UNDEFINED:
            raise UnreadableImage(f"{name} has compressed pixels that are not cut into items")
        fragment = header.stream.read(length)
        if len(fragment) < length:
            raise TruncatedImage(f"{name} ends within its compressed pixels")
        fragments.append(fragment)
        if len(fragments) > _LIMIT_FRAGMENTS:
            raise UnreadableImage(f"{name} has its compressed pixels in more than {_LIMIT_FRAGMENTS:,} pieces")
    if len(fragments) < 2:
        raise TruncatedImage(f"{name} ends before its compressed pixels")
    return b"".join(fragments[1:])


def _checked_codestream(frame: bytes, pixels: PixelDescription, name: str) -> Codestream:
    if frame.startswith(b"\xff\xd8"):
        require_simple_jpeg(frame, name)
    found = describe_codestream(frame)
    if found is None:
        raise UnreadableImage(f"{name} has compressed pixels without a header of their own")
    if (found.rows, found.columns, found.samples) != (pixels.rows, pixels.columns, pixels.samples) or (
        found.precision > 16
    ):
        # Not left to the decoder, which would make an image of whatever size the compressed data claim.
        raise BadPixelDescription(
            f"{name} is {pixels.columns} x {pixels.rows} x {pixels.samples} by its header, and "
            f"{found.columns} x {found.rows} x {found.samples} of {found.precision} bits by its compressed pixels"
        )
    if not has_end(frame):
        raise TruncatedImage(f"{name} has compressed pixels without their end")
    return found


def _run_length(frame: bytes, pixels: PixelDescription, name: str) -> Samples:
    """RLE (PS3.5 annex G): a segment for each byte of each sample, the most significant first, packed as TIFF packs bits.

    pydicom's decoder takes seconds, and memory without bound for a hostile file.
    """
    table = struct.unpack("<16I", frame[:64].ljust(64, b"\0"))
    count = table[0]
    if count not in (pixels.samples, 2 * pixels.samples):
        raise BadPixelDescription(
            f"{name} has {count} RLE segments; its header announces {pixels.samples * pixels.bits_allocated // 8}"
        )
    bounds = [*table[1 : count + 1], len(frame)]
    samples = np.empty((pixels.rows, pixels.columns, pixels.samples), "<u2" if count > pixels.samples else np.uint8)
    octets = samples.view(np.uint8).reshape(pixels.rows, pixels.columns, count)
    width = samples.dtype.itemsize
    for number, (start, end) in enumerate(pairwise(bounds)):
        sample, octet = divmod(number, width)
        octets[:, :, (sample + 1) * width - 1 - octet] = _unpack(frame[start:end], pixels, name)
    return _unsigned(samples[:, :, 0] if pixels.samples == 1 else samples)


def _unpack(segment: bytes, pixels: PixelDescription, name: str) -> Any:
    try:
        # One long row, as some writers let runs go on from row to row.
        plane = Image.frombytes("L", (pixels.rows * pixels.columns, 1), segment, "packbits", "L")
    except (ValueError, OSError):
        raise TruncatedImage(f"{name} has too little RLE data for its size") from None
    return np.asarray(plane).reshape(pixels.rows, pixels.columns)


def _lossless(frame: bytes, found: Codestream, pixels: PixelDescription, syntax: str, name: str) -> Samples:
    data = decode_by_gdcm(frame, found, syntax)
    dtype = np.dtype(np.uint8 if found.precision <= 8 else "<u2")
    if data is None or len(data) != pixels.rows * pixels.columns * pixels.samples * dtype.itemsize:
        raise UnreadableImage(f"{name} has compressed pixels that cannot be decoded")
    shape = (pixels.rows, pixels.columns) if pixels.samples == 1 else (pixels.rows, pixels.columns, pixels.samples)
    return _unsigned(np.frombuffer(data, dtype).reshape(shape))


def _by_pydicom(data: bytes, pixels: PixelDescription, bits_allocated: int, syntax: str, name: str) -> Samples:
    """Pixels by pydicom's decoder, which does the colours of PS3.3 C.7.6.3.1.2, on Pillow's codecs."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    is_compressed = syntax not in _NATIVE
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "samples_per_pixel": pixels.samples,
        "bits_allocated": bits_allocated,
        "bits_stored": min(pixels.bits_stored, bits_allocated),
        "pixel_representation": int(pixels.is_signed),
        "photometric_interpretation": pixels.photometric,
        "planar_configuration": int(pixels.is_planar),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }
    if is_compressed:
        data = encapsulate([data], has_bot=False)
        options["decoding_plugin"] = "pillow"
    try:
        with ignore_decoder_warnings:
            samples, _ = get_decoder(UID(syntax)).as_array(data, index=0, **options)
    except Exception as error:  # it wraps whatever Pillow raises, and raises much by itself
        raise UnreadableImage(f"{name} has pixels that cannot be decoded: {type(error).__name__}") from None
    return _unsigned(samples)


def _rgb(samples: Samples, pixels: PixelDescription) -> Samples:
    if pixels.samples == 1 or not pixels.photometric.startswith("YBR_FULL") or samples.dtype.itemsize > 1:
        return samples
    from pydicom.pixels.processing import convert_color_space

    return _unsigned(convert_color_space(samples, "YBR_FULL", "RGB"))


def _unsigned(samples: NDArray[Any]) -> Samples:
    return samples.view(np.uint8) if samples.dtype.itemsize == 1 else samples.view(np.uint16)
