"""DICOM bytes -> an 8-bit image, shown as its own tags ask, once and in the order of the standard."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import BadPixelDescription, BurnedIn, RetrievalError, UnreadableImage
from retrieval.imaging.dicom_frame import PixelDescription, Samples, describe_pixels, read_samples
from retrieval.imaging.dicom_header import (
    Header,
    count_of,
    integer_of,
    integers_of,
    items_of,
    number_of,
    read_header,
)
from retrieval.imaging.grayscale import (
    HIGH_PERCENT,
    LOW_PERCENT,
    Grayscale,
    LookupTable,
    Rescale,
    Window,
)
from retrieval.imaging.pseudonyms import hash_uid as hash_uid
from retrieval.imaging.pseudonyms import load_salt as load_salt

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

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
    the inversion that MONOCHROME1 asks for (C.7.6.3.1.2), then 8 bits. Colour is shown as it is.

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
    high_bit = pixels.high_bit if is_raw else pixels.bits_stored - 1
    if pixels.photometric.startswith("MONOCHROME"):
        shown = _grayscale(header, pixels, high_bit, notes, name)(samples)
    elif pixels.photometric == "PALETTE COLOR":
        shown = _through_palette(header, samples, name)
    else:
        shown = _eight_bit(samples, pixels.bits_stored)
    return Image.fromarray(shown), tuple(notes)


def _grayscale(header: Header, pixels: PixelDescription, high_bit: int, notes: list[str], name: str) -> Grayscale:
    modality = _modality(header, pixels, name)
    interest = _voi_lut(header, modality, pixels, notes, name) or _window(header, notes, name)
    if interest is None:
        notes.append(f"no window: percentiles {LOW_PERCENT} to {HIGH_PERCENT}")
    # With MONOCHROME1 this says the same once more (PS3.3 C.8.11.3.1.2), and must not invert again.
    if header.text("PresentationLUTShape").upper() == "INVERSE" and pixels.photometric == "MONOCHROME2":
        notes.append("PresentationLUTShape INVERSE contradicts MONOCHROME2: not inverted")
    return Grayscale(
        bits_stored=pixels.bits_stored,
        high_bit=high_bit,
        is_signed=pixels.is_signed,
        modality=modality,
        interest=interest,
        is_inverted=pixels.photometric == "MONOCHROME1",
        padding=_padding(header, pixels, name),
    )


def _modality(header: Header, pixels: PixelDescription, name: str) -> Rescale | LookupTable:
    if items := items_of(header.dataset, "ModalityLUTSequence"):
        return _lookup_table(items[0], "LUTDescriptor", "LUTData", header, pixels.is_signed, name)
    rescale = Rescale(
        number_of(header.dataset, "RescaleSlope", name, 1.0), number_of(header.dataset, "RescaleIntercept", name, 0.0)
    )
    if rescale.slope == 0.0:
        raise BadPixelDescription(f"{name} has a RescaleSlope of 0, which makes all its pixels the same")
    return rescale


def _voi_lut(
    header: Header, modality: Rescale | LookupTable, pixels: PixelDescription, notes: list[str], name: str
) -> LookupTable | None:
    items = items_of(header.dataset, "VOILUTSequence")
    if not items:
        return None
    stored = np.array([-(1 << (pixels.bits_stored - 1)), 0] if pixels.is_signed else [0, (1 << pixels.bits_stored) - 1])
    # The type of the first input, US or SS, is that of what the modality step can give (PS3.3 C.11.2.1.1).
    has_negative_input = isinstance(modality, Rescale) and bool((modality(stored.astype(np.float64)) < 0).any())
    try:
        table = _lookup_table(items[0], "LUTDescriptor", "LUTData", header, has_negative_input, name)
    except BadPixelDescription:
        notes.append("unusable VOI LUT ignored")
        return None
    if len(items) > 1:
        notes.append(f"the first of {len(items)} VOI LUTs")
    return table


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


def _lookup_table(
    item: Dataset, descriptor: str, data: str, header: Header, has_negative_input: bool, name: str
) -> LookupTable:
    """A table of a LUT or Palette module: entries, first input and bits an entry (PS3.3 C.11.1.1, C.7.6.3.1.5)."""
    described = integers_of(item, descriptor, name, is_little_endian=header.is_little_endian)
    if len(described) != 3:
        raise BadPixelDescription(f"{name} has a {descriptor} of {len(described)} values instead of 3")
    count, first, bits = (int(value) & 0xFFFF for value in described)
    count = count or 1 << 16
    if first > 0x7FFF and has_negative_input:
        first -= 1 << 16
    words = integers_of(item, data, name, is_little_endian=header.is_little_endian)
    entries = words[:count]
    if bits <= 8 and len(words) < count <= 2 * len(words):  # two entries in a word
        entries = words.astype("<u2").view(np.uint8)[:count].astype(np.int64)
    if len(entries) < count or not 8 <= bits <= 16:
        raise BadPixelDescription(f"{name} has a {data} of {len(entries)} entries of {bits} bits instead of {count}")
    return LookupTable(first, (entries & 0xFFFF).astype(np.float64), float((1 << bits) - 1))


def _through_palette(header: Header, samples: Samples, name: str) -> NDArray[np.uint8]:
    """Colour by the three tables of PS3.3 C.7.6.3.1.5; segmented ones, which can unfold without bound, are not taken."""
    inputs = np.arange(1 << (8 * samples.dtype.itemsize), dtype=np.float64)
    keyword = "PaletteColorLookupTable"
    channels = [
        _lookup_table(
            header.dataset, f"{colour}{keyword}Descriptor", f"{colour}{keyword}Data", header, False, name
        ).share(inputs)
        for colour in ("Red", "Green", "Blue")
    ]
    table = np.rint(255.0 * np.stack(channels, axis=-1)).astype(np.uint8)
    coloured: NDArray[np.uint8] = table[samples]
    return coloured


def _eight_bit(samples: Samples, bits_stored: int) -> NDArray[np.uint8]:
    if bits_stored == 8:
        return samples.astype(np.uint8, copy=False)
    maximum = (1 << bits_stored) - 1
    scale = np.rint(np.minimum(np.arange(1 << 16), maximum) * (255.0 / maximum)).astype(np.uint8)
    scaled: NDArray[np.uint8] = scale[samples]
    return scaled
