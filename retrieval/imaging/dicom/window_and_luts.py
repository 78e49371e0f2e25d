"""Reads the grayscale of a DICOM header: Modality LUT, VOI LUT or window, inversion, padding."""

from __future__ import annotations

from typing import Literal

import numpy as np

from retrieval.errors import BadPixelDescription
from retrieval.imaging.dicom.grayscale import OWN_RANGE, Grayscale, LookupTable, Rendering, Rescale, Window
from retrieval.imaging.dicom.header import Header, count_of, integer_of, items_of, number_of
from retrieval.imaging.dicom.lookup_tables import CheckedTable, read_lookup_table
from retrieval.imaging.dicom.pixel_description import PixelDescription
from retrieval.imaging.dicom.stored_bits import StoredBits

_DECIMALS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")
_VOI_FUNCTIONS: dict[str, Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]] = {
    "": "LINEAR",
    "LINEAR": "LINEAR",
    "LINEAR_EXACT": "LINEAR_EXACT",
    "SIGMOID": "SIGMOID",
}


def read_grayscale(
    header: Header, pixels: PixelDescription, bits: StoredBits, *, name: str
) -> tuple[Grayscale, tuple[str, ...]]:
    """The grayscale of a MONOCHROME image, and notes on elements that are ignored or contradict the pixels."""
    notes: list[str] = []
    if any("," in header.text(keyword) for keyword in _DECIMALS):
        notes.append("decimal comma in the header read as a point")
    modality = _read_modality(header, pixels, notes, name)
    table = _read_voi_lut(header, modality, bits, notes, name)
    window = _read_window(header, notes, name)
    # With MONOCHROME1, INVERSE repeats the inversion (PS3.3 C.8.11.3.1.2), and must not invert again.
    if header.text("PresentationLUTShape").upper() == "INVERSE" and pixels.photometric == "MONOCHROME2":
        notes.append("PresentationLUTShape INVERSE contradicts MONOCHROME2: not inverted")
    grayscale = Grayscale(
        bits=bits,
        renderings=_renderings(modality, table, window),
        is_inverted=pixels.photometric == "MONOCHROME1",
        padding=_read_padding(header, pixels, name),
    )
    return grayscale, tuple(notes)


def colour_grayscale(bits: StoredBits) -> Grayscale:
    """The grayscale of colour samples that are not 8 bits wide; the same for all channels, which keeps the hues."""
    maximum = float((1 << bits.bits) - 1)
    whole = Window(maximum / 2.0, maximum, "LINEAR_EXACT")
    return Grayscale(
        bits, (Rendering(Rescale(), whole), Rendering(Rescale(), None, f"colours without contrast: {OWN_RANGE}"))
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


def _read_modality(header: Header, pixels: PixelDescription, notes: list[str], name: str) -> Rescale | LookupTable:
    """The Modality LUT or the rescale (PS3.3 C.11.1); the identity where neither can be used."""
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
    if rescale.slope == 0.0:  # all pixels would be the same
        notes.append("unusable rescale ignored")
        return Rescale()
    return rescale


def _read_voi_lut(
    header: Header, modality: Rescale | LookupTable, bits: StoredBits, notes: list[str], name: str
) -> LookupTable | None:
    """The first VOI LUT (PS3.3 C.11.2.1.1); None if there is none that can be used."""
    items = items_of(header.dataset, "VOILUTSequence")
    if not items:
        return None
    stored = np.array([-(1 << (bits.bits - 1)), 0] if bits.is_signed else [0, (1 << bits.bits) - 1])
    # The first input is US or SS, as the output of the modality step (PS3.3 C.11.2.1.1).
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


def _read_lut(header: Header, sequence: str, name: str, *, has_negative_input: bool) -> CheckedTable:
    """The first table of ModalityLUTSequence or VOILUTSequence.

    Raises:
        BadPixelDescription: it is not usable.
    """
    return read_lookup_table(
        items_of(header.dataset, sequence)[0],
        "LUTDescriptor",
        "LUTData",
        is_little_endian=header.is_little_endian,
        has_negative_input=has_negative_input,
        name=name,
    )


def _read_window(header: Header, notes: list[str], name: str) -> Window | None:
    """The first window (PS3.3 C.11.2.1.2); None if there is none that can be used."""
    if not header.text("WindowCenter") and not header.text("WindowWidth"):
        return None
    function = header.text("VOILUTFunction").upper()
    try:
        window = Window(
            number_of(header.dataset, "WindowCenter", name),
            number_of(header.dataset, "WindowWidth", name),
            _VOI_FUNCTIONS[function],
        )
    except (BadPixelDescription, KeyError):
        window = None
    if window is None or not window.is_usable:
        notes.append("unusable window ignored")
        return None
    if (count := count_of(header.dataset, "WindowCenter")) > 1:
        notes.append(f"the first of {count} windows")
    return window


def _read_padding(header: Header, pixels: PixelDescription, name: str) -> tuple[int, int] | None:
    """Lowest and highest stored value of pixel padding (PS3.3 C.7.5.1.1.2); None if the header names none."""
    try:
        value = integer_of(header.dataset, "PixelPaddingValue", name)
        limit = integer_of(header.dataset, "PixelPaddingRangeLimit", name, value)
    except BadPixelDescription:
        return None
    if pixels.is_signed:  # many writers store a signed value with the VR US
        value, limit = ((number ^ 0x8000) - 0x8000 if number > 0x7FFF else number for number in (value, limit))
    return min(value, limit), max(value, limit)
