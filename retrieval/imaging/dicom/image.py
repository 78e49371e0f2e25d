"""DICOM bytes -> an 8-bit image, shown as its header asks, in the order of the standard (PS3.4 N.2)."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image

from retrieval.errors import BurnedIn, RetrievalError, UnreadableImage
from retrieval.imaging.dicom.header import Header, read_header
from retrieval.imaging.dicom.palette import apply_palette
from retrieval.imaging.dicom.pixel_description import PixelDescription, describe_pixels
from retrieval.imaging.dicom.samples import Samples, read_samples
from retrieval.imaging.dicom.stored_bits import StoredBits
from retrieval.imaging.dicom.window_and_luts import colour_grayscale, read_grayscale

PIXEL_TAGS = (
    0x00280002,  # SamplesPerPixel
    0x00280004,  # PhotometricInterpretation
    0x00280006,  # PlanarConfiguration
    0x00280008,  # NumberOfFrames
    0x00280010,  # Rows
    0x00280011,  # Columns
    0x00280100,  # BitsAllocated
    0x00280101,  # BitsStored
    0x00280102,  # HighBit
    0x00280103,  # PixelRepresentation
    0x00280120,  # PixelPaddingValue
    0x00280121,  # PixelPaddingRangeLimit
    0x00280301,  # BurnedInAnnotation
    0x00281050,  # WindowCenter
    0x00281051,  # WindowWidth
    0x00281052,  # RescaleIntercept
    0x00281053,  # RescaleSlope
    0x00281056,  # VOILUTFunction
    0x00281101, 0x00281102, 0x00281103,  # Red, Green, BluePaletteColorLookupTableDescriptor
    0x00281201, 0x00281202, 0x00281203,  # Red, Green, BluePaletteColorLookupTableData
    0x00283000,  # ModalityLUTSequence
    0x00283010,  # VOILUTSequence
    0x20500020,  # PresentationLUTShape
)  # fmt: skip
"""The elements that are read. All others are skipped and never in memory."""


def decode_dicom(
    data: bytes,
    *,
    name: str,
    limit_pixels: int,
    allow_burned_in: bool = False,
    reserve: Callable[[int, int, int, int], None] = lambda *_: None,
) -> tuple[Image.Image, tuple[str, ...]]:
    """A DICOM file as an image of mode `L` or `RGB`, and notes on how its pixels were read and shown.

    Grey: Modality LUT (PS3.3 C.11.1), then VOI LUT or the first window (C.11.2), or percentiles of the pixels if there is
    neither, then the inversion of MONOCHROME1 (C.7.6.3.1.2), then 8 bits. A step that leaves the image without contrast is
    skipped, with a note (docs/explanation/pixels.md). Colour is shown as it is.

    Raises:
        BurnedIn: BurnedInAnnotation is YES, and `allow_burned_in` is not set.
        ImageError: as `read_header`, `describe_pixels` and `read_samples`. No message holds a value that could name a
            patient.
        MissingExtra: pydicom or python-gdcm is not installed.
    """
    try:
        return _decode(data, name, limit_pixels, allow_burned_in, reserve)
    except (RetrievalError, MemoryError):
        raise
    except Exception as error:  # one hostile file must not end a run over a whole archive
        raise UnreadableImage(
            f"{name} is DICOM that cannot be decoded ({type(error).__name__}); export it again"
        ) from error


def _decode(
    data: bytes, name: str, limit_pixels: int, allow_burned_in: bool, reserve: Callable[[int, int, int, int], None]
) -> tuple[Image.Image, tuple[str, ...]]:
    header = read_header(BytesIO(data), len(data), PIXEL_TAGS, name=name)
    pixels = describe_pixels(header, name=name, limit_pixels=limit_pixels)
    notes: list[str] = []
    if header.text("BurnedInAnnotation").upper() == "YES":
        if not allow_burned_in:
            raise BurnedIn(
                f"{name} says that annotations are burned into its pixels; they can name the patient. Remove them, or "
                "allow burned-in annotations"
            )
        notes.append("burned-in annotation allowed")
    is_grey = pixels.samples == 1 and pixels.photometric != "PALETTE COLOR"
    reserve(pixels.columns, pixels.rows, 1 if is_grey else 4, pixels.working_bytes)
    samples, is_raw = read_samples(header, pixels, name=name)
    notes.extend(pixels.notes)
    width = 8 * samples.dtype.itemsize
    if width < pixels.bits_allocated:
        notes.append(f"BitsAllocated {pixels.bits_allocated} contradicts the pixels: {width} bits read")
    high_bit = pixels.high_bit if is_raw else pixels.bits_stored - 1
    bits = StoredBits(pixels.bits_stored, high_bit, pixels.is_signed).within(width)
    image, more = _show(header, pixels, samples, bits, name)
    return image, (*notes, *more)


def _show(
    header: Header, pixels: PixelDescription, samples: Samples, bits: StoredBits, name: str
) -> tuple[Image.Image, tuple[str, ...]]:
    """The samples as an 8-bit image, and notes."""
    notes: tuple[str, ...] = ()
    if pixels.photometric == "PALETTE COLOR":
        coloured, notes = apply_palette(header, samples, name=name)
        return Image.fromarray(coloured), notes
    if pixels.photometric.startswith("MONOCHROME"):
        grayscale, notes = read_grayscale(header, pixels, bits, name=name)
    elif bits.bits == 8:
        return Image.fromarray(samples), ()
    else:
        grayscale = colour_grayscale(bits)
    shown, more = grayscale(samples, name=name)
    return Image.fromarray(shown), (*notes, *more)
