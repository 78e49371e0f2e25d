"""PALETTE COLOR images: samples -> RGB through the three palette lookup tables (PS3.3 C.7.6.3.1.5, C.7.9)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrieval.imaging.dicom.header import Header
from retrieval.imaging.dicom.lookup_tables import read_lookup_table
from retrieval.imaging.dicom.samples import Samples


def apply_palette(header: Header, samples: Samples, *, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """RGB [rows, columns, 3] and notes. Segmented tables are not read: a few bytes can unfold without limit.

    Raises:
        BadPixelDescription: a table is missing or unusable.
    """
    inputs = np.arange(1 << (8 * samples.dtype.itemsize), dtype=np.float64)
    tables = [
        read_lookup_table(
            header.dataset,
            f"{colour}PaletteColorLookupTableDescriptor",
            f"{colour}PaletteColorLookupTableData",
            is_little_endian=header.is_little_endian,
            has_negative_input=False,
            name=name,
        )
        for colour in ("Red", "Green", "Blue")
    ]
    # One white level for all three channels keeps the hues.
    white = max(read.table.maximum for read in tables)
    is_contradicted = all(read.is_contradicted for read in tables)
    notes = ("palette descriptor contradicts its entries: shown by the entries",) if is_contradicted else ()
    shares = [np.clip(read.table(inputs) / white, 0.0, 1.0) for read in tables]
    palette = np.rint(255.0 * np.stack(shares, axis=-1)).astype(np.uint8)
    coloured: NDArray[np.uint8] = palette[samples]
    return coloured, notes
