"""The stored samples of a DICOM image, decoded from the transfer syntax of the file."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import BadPixelDescription, TruncatedImage, UnreadableImage, UnsupportedTransferSyntax
from retrieval.imaging.complexity import require_simple_jpeg
from retrieval.imaging.dicom import transfer_syntaxes
from retrieval.imaging.dicom.codestream import Codestream, describe_codestream, has_end
from retrieval.imaging.dicom.extras import decode_frame, ybr_to_rgb
from retrieval.imaging.dicom.gdcm_codec import decode_by_gdcm
from retrieval.imaging.dicom.header import Header
from retrieval.imaging.dicom.pixel_data import read_compressed, read_uncompressed
from retrieval.imaging.dicom.pixel_description import PixelDescription
from retrieval.imaging.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, UNCOMPRESSED
from retrieval.imaging.warning_filter import ignore_decoder_warnings

Samples = NDArray[np.uint8] | NDArray[np.uint16]


def read_samples(header: Header, pixels: PixelDescription, *, name: str) -> tuple[Samples, bool]:
    """The stored samples, [rows, columns] or RGB [rows, columns, 3], and whether they are raw words.

    A raw word has `bits_allocated` bits; the value ends at `high_bit`, and other bits may stand around it. Otherwise the
    value begins at bit 0. Signed values are in two's complement. The samples are uint8 where the data have 8 bits a sample,
    even if 16 bits are allocated.

    Raises:
        TruncatedImage: fewer samples than the header announces, or compressed data without their end.
        BadPixelDescription: the compressed data have another size than the header says.
        UnsupportedTransferSyntax: there is no decoder for this compression, or for this variant of it.
        UnreadableImage: the decoder fails.
    """
    syntax = header.transfer_syntax
    if syntax in UNCOMPRESSED:
        return _read_uncompressed(header, pixels, name), True
    supported = (
        transfer_syntaxes.RLE | transfer_syntaxes.JPEG | transfer_syntaxes.JPEG_2000 | transfer_syntaxes.JPEG_LOSSLESS
    )
    if syntax not in supported:
        raise UnsupportedTransferSyntax(
            f"{name} has a transfer syntax that is not supported; export it uncompressed, or as JPEG, JPEG-LS, JPEG 2000 "
            "or RLE"
        )
    frame = read_compressed(header, name)
    if syntax in transfer_syntaxes.RLE:
        return _to_rgb(_decode_rle(frame, pixels, name), pixels), True
    codestream = _require_codestream(frame, pixels, name)
    if syntax in transfer_syntaxes.JPEG_LOSSLESS:
        return _to_rgb(_decode_lossless(frame, codestream, pixels, syntax, name), pixels), False
    if syntax in transfer_syntaxes.JPEG and codestream.precision != 8:
        raise UnsupportedTransferSyntax(
            f"{name} is JPEG of {codestream.precision} bits, which is not supported; export it uncompressed or as JPEG 2000"
        )
    # The codestream says whether a sample takes 8 or 16 bits; BitsAllocated may contradict it.
    return _decode_by_pydicom(frame, pixels, 8 if codestream.precision <= 8 else 16, syntax, name), False


def _read_uncompressed(header: Header, pixels: PixelDescription, name: str) -> Samples:
    data, vr, length = read_uncompressed(header, pixels.size, name)
    if pixels.bits_allocated == 16 and len(data) == length == (half := pixels.size // 2) + half % 2:
        pixels = replace(pixels, bits_allocated=8, bits_stored=8, high_bit=7)
    if len(data) < pixels.size:
        raise TruncatedImage(
            f"{name} has {len(data):,} bytes of pixels; its header announces {pixels.size:,}. Export or transfer it again"
        )
    if not header.is_little_endian and (vr == "OW" or pixels.bits_allocated == 16):
        data = np.frombuffer(data[: len(data) // 2 * 2], dtype=">u2").astype("<u2").tobytes()
    if pixels.samples > 1:
        return _decode_by_pydicom(data, pixels, pixels.bits_allocated, EXPLICIT_LITTLE_ENDIAN, name)
    cells = np.frombuffer(data, dtype="<u2" if pixels.bits_allocated == 16 else np.uint8)
    return cells[: pixels.rows * pixels.columns].reshape(pixels.rows, pixels.columns)


def _require_codestream(frame: bytes, pixels: PixelDescription, name: str) -> Codestream:
    """The description of a compressed frame, which must agree with the header.

    A decoder would make an image of any size that the compressed data claim.
    """
    if frame.startswith(b"\xff\xd8"):
        require_simple_jpeg(frame, name)
    found = describe_codestream(frame)
    if found is None:
        raise UnreadableImage(f"{name} has compressed pixels without a readable JPEG, JPEG-LS or JPEG 2000 header")
    if (found.rows, found.columns, found.samples) != (pixels.rows, pixels.columns, pixels.samples) or (
        found.precision > 16
    ):
        raise BadPixelDescription(
            f"{name} is {pixels.columns} x {pixels.rows} x {pixels.samples} in its header, and "
            f"{found.columns} x {found.rows} x {found.samples} of {found.precision} bits in its compressed pixels"
        )
    if not has_end(frame):
        raise TruncatedImage(f"{name} has compressed pixels without an end marker; export or transfer it again")
    return found


def _decode_rle(frame: bytes, pixels: PixelDescription, name: str) -> Samples:
    """RLE (PS3.5 annex G): one PackBits segment for each byte of a sample, the most significant byte first.

    pydicom's decoder takes seconds, and unlimited memory for a hostile file.
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
    return _as_unsigned(samples[:, :, 0] if pixels.samples == 1 else samples)


def _unpack(segment: bytes, pixels: PixelDescription, name: str) -> Any:
    try:
        # As one long row: some writers let a run continue in the next row.
        plane = Image.frombytes("L", (pixels.rows * pixels.columns, 1), segment, "packbits", "L")
    except (ValueError, OSError):
        raise TruncatedImage(f"{name} has too little RLE data for its size; export or transfer it again") from None
    return np.asarray(plane).reshape(pixels.rows, pixels.columns)


def _decode_lossless(frame: bytes, found: Codestream, pixels: PixelDescription, syntax: str, name: str) -> Samples:
    data = decode_by_gdcm(frame, found, syntax)
    dtype = np.dtype(np.uint8 if found.precision <= 8 else "<u2")
    if data is None or len(data) != pixels.rows * pixels.columns * pixels.samples * dtype.itemsize:
        raise UnreadableImage(f"{name} has compressed pixels that GDCM cannot decode; export it uncompressed")
    shape = (pixels.rows, pixels.columns) if pixels.samples == 1 else (pixels.rows, pixels.columns, pixels.samples)
    return _as_unsigned(np.frombuffer(data, dtype).reshape(shape))


def _decode_by_pydicom(data: bytes, pixels: PixelDescription, bits_allocated: int, syntax: str, name: str) -> Samples:
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
    try:
        with ignore_decoder_warnings:
            samples = decode_frame(data, syntax, options, is_compressed=syntax not in UNCOMPRESSED)
    except Exception as error:  # pydicom wraps the errors of Pillow, and raises many of its own
        raise UnreadableImage(
            f"{name} has pixels that cannot be decoded ({type(error).__name__}); export it uncompressed"
        ) from None
    return _as_unsigned(samples)


def _to_rgb(samples: Samples, pixels: PixelDescription) -> Samples:
    if samples.dtype.itemsize > 1 or pixels.samples == 1 or not pixels.photometric.startswith("YBR_FULL"):
        return samples
    return _as_unsigned(ybr_to_rgb(samples.view(np.uint8)))


def _as_unsigned(samples: NDArray[Any]) -> Samples:
    return samples.view(np.uint8) if samples.dtype.itemsize == 1 else samples.view(np.uint16)
