"""DICOM bytes -> an 8-bit image, shown as its own tags ask, once and in the order of the standard."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import BadPixelDescription, BurnedIn, RetrievalError, UnreadableImage
from retrieval.imaging.dicom.frame import PixelDescription, Samples, describe_pixels, read_samples
from retrieval.imaging.dicom.grayscale import OWN_RANGE, Grayscale, LookupTable, Rendering, Rescale, Window
from retrieval.imaging.dicom.header import (
    Header,
    count_of,
    integer_of,
    items_of,
    number_of,
    read_header,
)
from retrieval.imaging.dicom.lut_items import ReadTable, read_table
from retrieval.imaging.dicom.stored_bits import StoredBits

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
"""The only elements that are looked at; no other is read into memory."""

_DECIMALS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")

_FUNCTIONS: dict[str, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] = {
    "": "LINEAR",
    "LINEAR": "LINEAR",
    "LINEAR_EXACT": "LINEAR_EXACT",
    "SIGMOID": "SIGMOID",
}


def decode_dicom(
    data: bytes,
    *,
    name: str,
    limit_pixels: int,
    allow_burned_in: bool = False,
    reserve: Callable[[int, int, int, int], None] = lambda *_: None,
) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode a DICOM file into an image of mode `L` or `RGB`, and notes on what had to be decided.

    Grey: Modality LUT (PS3.3 C.11.1), then VOI LUT or the first window (C.11.2), else percentiles of the pixels, then
    the inversion that MONOCHROME1 asks for (C.7.6.3.1.2), then 8 bits. What leaves the image no contrast is ignored, with
    a note (docs/explanation/pixels.md). Colour is shown as it is.

    Raises:
        BurnedIn: it says that its pixels hold annotations, and `allow_burned_in` is not set.
        ImageError: as `read_header`, `describe_pixels` and `read_samples`. Messages name no value that could be a
            patient's.
        MissingExtra: pydicom or python-gdcm is not installed.
    """
    try:
        return _decode(data, name, limit_pixels, allow_burned_in, reserve)
    except (RetrievalError, MemoryError):
        raise
    except Exception as error:  # the last resort: one hostile file must not end a run over a whole archive
        raise UnreadableImage(f"{name} is DICOM that cannot be decoded: {type(error).__name__}") from error


def _decode(
    data: bytes, name: str, limit_pixels: int, allow_burned_in: bool, reserve: Callable[[int, int, int, int], None]
) -> tuple[Image.Image, tuple[str, ...]]:
    header = read_header(BytesIO(data), len(data), PIXEL_TAGS, name=name)
    pixels = describe_pixels(header, name=name, limit_pixels=limit_pixels)
    notes: list[str] = []
    if header.text("BurnedInAnnotation").upper() == "YES":
        if not allow_burned_in:
            raise BurnedIn(
                f"{name} says that annotations are burned into its pixels, which can name the patient; such files are "
                "taken only where that is allowed"
            )
        notes.append("burned-in annotation allowed")
    grey = pixels.samples == 1 and pixels.photometric != "PALETTE COLOR"
    reserve(pixels.columns, pixels.rows, 1 if grey else 4, pixels.working_bytes)
    samples, is_raw = read_samples(header, pixels, name=name)
    notes.extend(pixels.notes)
    width = 8 * samples.dtype.itemsize
    if width < pixels.bits_allocated:
        notes.append(f"BitsAllocated {pixels.bits_allocated} contradicts the pixels: {width} bits read")
    bits = StoredBits(
        pixels.bits_stored, pixels.high_bit if is_raw else pixels.bits_stored - 1, pixels.is_signed
    ).within(width)
    if pixels.photometric == "PALETTE COLOR":
        return Image.fromarray(_through_palette(header, samples, notes, name)), tuple(notes)
    if pixels.photometric.startswith("MONOCHROME"):
        grayscale = _grayscale(header, pixels, bits, notes, name)
    elif bits.bits == 8:
        return Image.fromarray(samples), tuple(notes)
    else:
        grayscale = _colour(bits)
    shown, decided = grayscale(samples, name=name)
    return Image.fromarray(shown), (*notes, *decided)


def _grayscale(header: Header, pixels: PixelDescription, bits: StoredBits, notes: list[str], name: str) -> Grayscale:
    if any("," in header.text(keyword) for keyword in _DECIMALS):
        notes.append("decimal comma in the header read as a point")
    modality = _modality(header, pixels, notes, name)
    table = _voi_lut(header, modality, bits, notes, name)
    window = _window(header, notes, name)
    # With MONOCHROME1 this says the same once more (PS3.3 C.8.11.3.1.2), and must not invert again.
    if header.text("PresentationLUTShape").upper() == "INVERSE" and pixels.photometric == "MONOCHROME2":
        notes.append("PresentationLUTShape INVERSE contradicts MONOCHROME2: not inverted")
    return Grayscale(
        bits=bits,
        renderings=_renderings(modality, table, window),
        is_inverted=pixels.photometric == "MONOCHROME1",
        padding=_padding(header, pixels, name),
    )


def _renderings(
    modality: Rescale | LookupTable, table: LookupTable | None, window: Window | None
) -> tuple[Rendering, ...]:
    """The ways to show the image, in the order in which they are tried."""
    found: list[Rendering] = []
    if table:
        found.append(Rendering(modality, table))
        found.append(
            Rendering(lambda values: table(modality(values)), None, f"VOI LUT without contrast: {OWN_RANGE} of it")
        )
    if window:
        found.append(Rendering(modality, window, "VOI LUT without contrast: window used" if table else ""))
    lost = " and ".join([*["VOI LUT"] * bool(table), *["window"] * bool(window)])
    found.append(
        Rendering(modality, None, f"{lost} without contrast: {OWN_RANGE}" if lost else f"no window: {OWN_RANGE}")
    )
    if modality != Rescale():
        found.append(Rendering(Rescale(), None, f"modality values without contrast: {OWN_RANGE} of the stored values"))
    return tuple(found)


def _colour(bits: StoredBits) -> Grayscale:
    """Samples of more or less than 8 bits, all three alike, so that hues stay."""
    maximum = float((1 << bits.bits) - 1)
    whole = Window(maximum / 2.0, maximum, "LINEAR_EXACT")
    return Grayscale(
        bits, (Rendering(Rescale(), whole), Rendering(Rescale(), None, f"colours without contrast: {OWN_RANGE}"))
    )


def _modality(header: Header, pixels: PixelDescription, notes: list[str], name: str) -> Rescale | LookupTable:
    if items_of(header.dataset, "ModalityLUTSequence"):
        try:
            return _read_lut(header, "ModalityLUTSequence", name, has_negative_input=pixels.is_signed).table
        except BadPixelDescription:
            notes.append("unusable Modality LUT ignored")
    try:
        rescale = Rescale(
            number_of(header.dataset, "RescaleSlope", name, 1.0),
            number_of(header.dataset, "RescaleIntercept", name, 0.0),
        )
    except BadPixelDescription:
        rescale = Rescale(0.0)
    if rescale.slope == 0.0:  # it would make all pixels the same
        notes.append("unusable rescale ignored")
        return Rescale()
    return rescale


def _voi_lut(
    header: Header, modality: Rescale | LookupTable, bits: StoredBits, notes: list[str], name: str
) -> LookupTable | None:
    items = items_of(header.dataset, "VOILUTSequence")
    if not items:
        return None
    stored = np.array([-(1 << (bits.bits - 1)), 0] if bits.is_signed else [0, (1 << bits.bits) - 1])
    # The type of the first input, US or SS, is that of what the modality step can give (PS3.3 C.11.2.1.1).
    has_negative_input = isinstance(modality, Rescale) and bool((modality(stored.astype(np.float64)) < 0).any())
    try:
        read = _read_lut(header, "VOILUTSequence", name, has_negative_input=has_negative_input)
    except BadPixelDescription:
        notes.append("unusable VOI LUT ignored")
        return None
    if read.is_contradicted:
        notes.append("VOI LUT descriptor contradicts its entries: shown by the entries")
    if len(items) > 1:
        notes.append(f"the first of {len(items)} VOI LUTs")
    return read.table


def _read_lut(header: Header, sequence: str, name: str, *, has_negative_input: bool) -> ReadTable:
    """The first table of ModalityLUTSequence or VOILUTSequence.

    Raises:
        BadPixelDescription: no table can be made of it.
    """
    return read_table(
        items_of(header.dataset, sequence)[0],
        "LUTDescriptor",
        "LUTData",
        is_little_endian=header.is_little_endian,
        has_negative_input=has_negative_input,
        name=name,
    )


def _window(header: Header, notes: list[str], name: str) -> Window | None:
    """The first window, or None where there is none that can be used."""
    if not header.text("WindowCenter") and not header.text("WindowWidth"):
        return None
    function = header.text("VOILUTFunction").upper()
    try:
        window = Window(
            number_of(header.dataset, "WindowCenter", name),
            number_of(header.dataset, "WindowWidth", name),
            _FUNCTIONS[function],
        )
    except (BadPixelDescription, KeyError):
        window = None
    if window is None or not window.is_usable:
        notes.append("unusable window ignored")
        return None
    if (count := count_of(header.dataset, "WindowCenter")) > 1:
        notes.append(f"the first of {count} windows")
    return window


def _padding(header: Header, pixels: PixelDescription, name: str) -> tuple[int, int] | None:
    """The stored values that are no image, lowest and highest (PS3.3 C.7.5.1.1.2); None where none are named."""
    try:
        value = integer_of(header.dataset, "PixelPaddingValue", name)
        limit = integer_of(header.dataset, "PixelPaddingRangeLimit", name, value)
    except BadPixelDescription:
        return None
    if pixels.is_signed:  # the type of the element is often US all the same
        value, limit = ((number ^ 0x8000) - 0x8000 if number > 0x7FFF else number for number in (value, limit))
    return min(value, limit), max(value, limit)


def _through_palette(header: Header, samples: Samples, notes: list[str], name: str) -> NDArray[np.uint8]:
    """Colour by the three tables of PS3.3 C.7.6.3.1.5; segmented ones, which can unfold without bound, are not taken."""
    inputs = np.arange(1 << (8 * samples.dtype.itemsize), dtype=np.float64)
    channels: list[ReadTable] = []
    for colour in ("Red", "Green", "Blue"):
        keyword = f"{colour}PaletteColorLookupTable"
        channels.append(
            read_table(
                header.dataset,
                f"{keyword}Descriptor",
                f"{keyword}Data",
                is_little_endian=header.is_little_endian,
                has_negative_input=False,
                name=name,
            )
        )
    # One white for all three, or the hues would change.
    white = max(read.table.maximum for read in channels)
    if all(read.is_contradicted for read in channels):
        notes.append("palette descriptor contradicts its entries: shown by the entries")
    shares = [np.clip(read.table(inputs) / white, 0.0, 1.0) for read in channels]
    table = np.rint(255.0 * np.stack(shares, axis=-1)).astype(np.uint8)
    coloured: NDArray[np.uint8] = table[samples]
    return coloured
