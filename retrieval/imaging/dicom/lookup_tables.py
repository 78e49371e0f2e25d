"""DICOM lookup tables (LUTs), read by their entries, since many descriptors contradict them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from retrieval.errors import BadPixelDescription
from retrieval.imaging.contrast import FULL_SPREAD
from retrieval.imaging.dicom.grayscale import LookupTable
from retrieval.imaging.dicom.header import integers_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FULL_SHARE = FULL_SPREAD / 255.0


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A lookup table, and whether its descriptor contradicts its entries."""

    table: LookupTable
    is_contradicted: bool


def read_lookup_table(
    item: Dataset, descriptor: str, data: str, *, is_little_endian: bool, has_negative_input: bool, name: str
) -> CheckedTable:
    """The table of a LUT or Palette module: entries, first input and bits of an entry (PS3.3 C.11.1.1, C.7.6.3.1.5).

    The third value of a descriptor is often the size of a cell and not the bits of an entry (dcm4che issue 413). So entries
    are scaled by the largest one, unless it nearly uses all bits. If there are more entries than the descriptor says, all
    are used. If there are fewer, they are used from half of that number.

    Raises:
        BadPixelDescription: the element holds no usable table.
    """
    described = integers_of(item, descriptor, name, is_little_endian=is_little_endian)
    if len(described) != 3:
        raise BadPixelDescription(f"{name} has a {descriptor} of {len(described)} values instead of 3")
    count, first, bits = (int(value) & 0xFFFF for value in described)
    count = count or 1 << 16
    if first > 0x7FFF and has_negative_input:
        first -= 1 << 16
    words = integers_of(item, data, name, is_little_endian=is_little_endian) & 0xFFFF
    entries = words
    if 2 * len(words) - 1 <= count <= 2 * len(words) and words.max(initial=0) > 0xFF:  # two entries in a word
        entries = words.astype("<u2").view(np.uint8)[:count].astype(np.int64)
    elif len(words) == count + 1:  # padded to an even length
        entries = words[:count]
    highest = int(entries.max(initial=0))
    if 2 * len(entries) < count or highest == 0:
        raise BadPixelDescription(
            f"{name} has a {data} of {len(entries)} entries up to {highest} instead of {count} of {bits} bits"
        )
    maximum = (1 << min(bits, 16)) - 1
    uses_part = not _FULL_SHARE * maximum <= highest <= maximum
    return CheckedTable(
        LookupTable(first, entries.astype(np.float64), float(highest if uses_part else maximum)),
        is_contradicted=uses_part or len(entries) != count or (bits > 8) == (len(entries) > len(words)),
    )
