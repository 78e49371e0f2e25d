"""The Image Pixel module of a DICOM header (PS3.3 C.7.6.3), checked before any pixel is decoded."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.errors import BadPixelDescription, ImageBomb, MultiFrame, NoPixels, TruncatedImage
from retrieval.imaging.dicom.header import Header, integer_of
from retrieval.imaging.dicom.pixel_data import has_pixel_data

_GREY = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"}
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"}


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module; `bits_allocated` is 8 or 16, `samples` (per pixel) 1 or 3.

    `notes` name impossible values and what is used instead.
    """

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

    @property
    def size(self) -> int:
        """Bytes of the frame, uncompressed (PS3.3 C.7.6.3.1.2: in YBR_FULL_422, two pixels take four bytes)."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.bits_allocated // 8

    @property
    def working_bytes(self) -> int:
        """The most bytes that decoding and showing the frame takes: copies of the decoder, samples, result."""
        return self.rows * self.columns * self.samples * (6 if self.bits_allocated == 8 else 12)


def describe_pixels(header: Header, *, name: str, limit_pixels: int) -> PixelDescription:
    """The description of the pixels in the header.

    Raises:
        NoPixels: the file has no pixel data. TruncatedImage: it ends before them.
        BadPixelDescription: an element is missing or impossible.
        ImageBomb: more than `limit_pixels` pixels. MultiFrame: more than one frame.
    """
    if not has_pixel_data(header):
        if header.ended_early:
            raise TruncatedImage(f"{name} ends within its header; export or transfer it again")
        raise NoPixels(f"{name} is DICOM without integer pixel data; only images can be read")

    def number(keyword: str, default: int | None = None) -> int:
        return integer_of(header.dataset, keyword, name, default)

    rows, columns, frames = number("Rows"), number("Columns"), number("NumberOfFrames", 1)
    if rows < 1 or columns < 1:
        raise BadPixelDescription(f"{name} has {rows} rows and {columns} columns; an image has at least 1 of each")
    if rows * columns * max(frames, 1) > limit_pixels:
        raise ImageBomb(f"{name} is {columns} x {rows} x {frames} frames; at most {limit_pixels:,} pixels are accepted")
    if frames > 1:
        raise MultiFrame(f"{name} has {frames} frames; a radiograph has one")
    photometric = header.text("PhotometricInterpretation").upper()
    if photometric not in _GREY | _COLOUR:
        raise BadPixelDescription(
            f"{name} has no known PhotometricInterpretation; expected one of {', '.join(sorted(_GREY | _COLOUR))}"
        )
    expected = 1 if photometric in _GREY else 3
    samples = number("SamplesPerPixel", expected)
    if samples != expected:
        raise BadPixelDescription(f"{name} has SamplesPerPixel {samples}; {photometric} has {expected}")
    allocated, stored, high_bit, notes = _usable_bits(
        number("BitsAllocated"), number("BitsStored", 0), number("HighBit", -1)
    )
    if allocated not in (8, 16):
        raise BadPixelDescription(f"{name} has BitsAllocated {allocated}; radiographs have 8 or 16")
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


def _usable_bits(allocated: int, stored: int, high_bit: int) -> tuple[int, int, int, tuple[str, ...]]:
    """BitsAllocated, BitsStored and HighBit, with impossible values replaced, and notes on those."""
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
