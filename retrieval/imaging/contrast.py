"""The contrast of an 8-bit image, measured by the histogram of its grey levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import NoContrast

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
"""Percentiles of the pixels that become black and white where an image is shown by its own range.

They leave out bright markers and dark collimation."""

LEAST_SPREAD = 128
"""Grey levels between the two percentiles. With fewer, a window, a table or an alpha channel has hidden the image.

Of 1,500 films of the Indiana collection, none has less than 129; the first percentile is 167."""

FULL_SPREAD = 204
"""As `LEAST_SPREAD`, for a range that the file does not state, such as all 16 bits of a PNG: four fifths of the grey scale.

A film that keeps less is no longer found by itself (benchmarks/results, "Pixel forms")."""

LARGEST_SHARE = 0.7
"""Share of the pixels in one grey level; with more, most of the image is clipped. The largest in Indiana is 0.39."""

Histogram = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Grey levels between the percentiles, grey levels between the ends, and the share of the most frequent level."""

    spread: int
    extent: int
    largest_share: float

    @classmethod
    def of(cls, histogram: Histogram) -> Contrast:
        """The contrast of a histogram of 256 counts; no contrast if it has no pixels."""
        below = np.cumsum(histogram)
        if not (total := int(below[-1])):
            return cls(0, 0, 1.0)
        low, high = (np.searchsorted(below, total * percent / 100.0) for percent in (LOW_PERCENT, HIGH_PERCENT))
        used = np.flatnonzero(histogram)
        return cls(int(high - low), int(used[-1] - used[0]), float(histogram.max() / total))

    def is_kept(self, least_spread: int = LEAST_SPREAD) -> bool:
        """Whether the image keeps its contrast."""
        return self.spread >= least_spread and self.largest_share <= LARGEST_SHARE


def choose_first_kept(contrasts: Sequence[Contrast], least_spreads: Sequence[int]) -> int:
    """The index of the first way to show an image that keeps its contrast.

    If none does, as with a small film on a large black background: the first with at least half the contrast of the best.
    """
    for place, (contrast, least) in enumerate(zip(contrasts, least_spreads, strict=True)):
        if contrast.is_kept(least):
            return place
    spreads = [contrast.spread for contrast in contrasts]
    reached = spreads if any(spreads) else [contrast.extent for contrast in contrasts]
    return next(place for place, found in enumerate(reached) if 2 * found >= max(reached))


def require_contrast(image: Image.Image, name: str) -> None:
    """Refuse an 8-bit image without contrast.

    Raises:
        NoContrast: all its pixels have the same value.
    """
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in bands):
        raise no_contrast(name)


def no_contrast(name: str) -> NoContrast:
    """The error for an image of one value."""
    return NoContrast(
        f"{name} shows nothing: all its pixels have the same value; a radiograph has contrast. Check how it was exported"
    )
