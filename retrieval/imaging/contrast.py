"""Whether an image shows something, told by the histogram of its grey levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import NoContrast

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
"""Where an image is shown by its own range, these shares of its pixels become black and white: bright markers, dark
collimation."""

LEAST_SPREAD = 128
"""Grey levels between the two percentiles below which a window, a table or an alpha channel has hidden the image.

None of 1,500 films of the Indiana collection has less than 129 (the lowest in a hundred: 167)."""

FULL_SPREAD = 204
"""As `LEAST_SPREAD`, for a range that nobody has stated, such as all 16 bits of a PNG: four fifths of the grey scale. Films
that keep less are no longer found by themselves (benchmarks/results, "Pixel forms")."""

LARGEST_SHARE = 0.7
"""The share of the pixels in one grey level above which most of the image is clipped. Indiana's largest is 0.39."""

Histogram = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Contrast:
    """How a histogram lies: levels from percentile to percentile, levels from end to end, share of the largest level."""

    spread: int
    extent: int
    largest_share: float

    @classmethod
    def of(cls, histogram: Histogram) -> Contrast:
        """From pixels by grey level, 256 counts; of no pixels at all, none."""
        below = np.cumsum(histogram)
        if not (total := int(below[-1])):
            return cls(0, 0, 1.0)
        low, high = (np.searchsorted(below, total * percent / 100.0) for percent in (LOW_PERCENT, HIGH_PERCENT))
        used = np.flatnonzero(histogram)
        return cls(int(high - low), int(used[-1] - used[0]), float(histogram.max() / total))

    def is_kept(self, least_spread: int = LEAST_SPREAD) -> bool:
        """Whether the image can be seen."""
        return self.spread >= least_spread and self.largest_share <= LARGEST_SHARE


def choose(contrasts: Sequence[Contrast], least_spreads: Sequence[int]) -> int:
    """The place of the first way to show an image that keeps its contrast.

    Where none does, as of a small film on a large black ground: the first that keeps at least half of what the best does.
    """
    for place, (contrast, least) in enumerate(zip(contrasts, least_spreads, strict=True)):
        if contrast.is_kept(least):
            return place
    spreads = [contrast.spread for contrast in contrasts]
    reached = spreads if any(spreads) else [contrast.extent for contrast in contrasts]
    return next(place for place, found in enumerate(reached) if 2 * found >= max(reached))


def require_contrast(image: Image.Image, name: str) -> None:
    """Refuse an 8-bit image whose pixels are all the same.

    Raises:
        NoContrast: they are.
    """
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in bands):
        raise shows_nothing(name)


def shows_nothing(name: str) -> NoContrast:
    """The error to raise for an image of one value."""
    return NoContrast(
        f"{name} shows nothing: all its pixels have the same value; a radiograph has contrast. Check how it was exported"
    )
