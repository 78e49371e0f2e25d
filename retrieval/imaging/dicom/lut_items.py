"""Lookup tables of DICOM, read as their entries are and not as their descriptors say."""

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
class ReadTable:
    """A table, and whether its descriptor says something else than its entries."""

    table: LookupTable
    is_contradicted: bool


def read_table(
    item: Dataset, descriptor: str, data: str, *, is_little_endian: bool, has_negative_input: bool, name: str
) -> ReadTable:
    """A table of a LUT or Palette module: entries, first input and bits an entry (PS3.3 C.11.1.1, C.7.6.3.1.5).

    The third value of a descriptor is often the size of a cell and not the bits of an entry (dcm4che issue 413). So entries
    are scaled by the largest of them, unless that comes near what the bits allow. Too many entries for the descriptor are
    all used; so are too few, from half of what it says.

    Raises:
        BadPixelDescription: no table can be made of it.
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
    elif len(words) == count + 1:  # one to make the length even
        entries = words[:count]
    reach = int(entries.max(initial=0))
    if 2 * len(entries) < count or reach == 0:
        raise BadPixelDescription(
            f"{name} has a {data} of {len(entries)} entries up to {reach} instead of {count} of {bits} bits"
        )
    maximum = (1 << min(bits, 16)) - 1
    is_short = not _FULL_SHARE * maximum <= reach <= maximum
    return ReadTable(
        LookupTable(first, entries.astype(np.float64), float(reach if is_short else maximum)),
        is_contradicted=is_short or len(entries) != count or (bits > 8) == (len(entries) > len(words)),
    )
