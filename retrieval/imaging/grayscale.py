"""Stored values -> 8-bit grey, as PS3.3 and PS3.4 N.2 order it: modality, values of interest, polarity, 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
"""Where no window is given, these shares of the pixels become black and white: bright markers, dark collimation."""

# Rows of a wide image that stay in the cache while they are mapped or counted: half the time of the whole at once.
_CHUNK_PIXELS = 1 << 16

Words = NDArray[np.uint8] | NDArray[np.uint16]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rescale:
    """Modality value = slope x stored value + intercept (PS3.3 C.11.1.1.2); the slope may be negative, never 0."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: Values) -> Values:
        """The modality values."""
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class LookupTable:
    """Entry n stands for the input `first` + n; inputs below and above take the first and last (PS3.3 C.11.1.1, C.11.2.1.1).

    `maximum` is the largest value an entry can have by its bits.
    """

    first: int
    entries: Values
    maximum: float

    def __call__(self, values: Values) -> Values:
        """The entries for `values`; those that are no whole numbers are rounded."""
        position = np.rint(values) - self.first
        entries: Values = self.entries[np.clip(position, 0, len(self.entries) - 1).astype(np.int64)]
        return entries

    def share(self, values: Values) -> Values:
        """The entries as a share of `maximum`, 0 to 1."""
        return np.clip(self(values) / self.maximum, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Window:
    """Centre and width in modality values, and the curve between (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    def share(self, values: Values) -> Values:
        """Brightness, 0 to 1."""
        match self.function:
            case "SIGMOID":
                with np.errstate(over="ignore"):
                    bright: Values = 1.0 / (1.0 + np.exp(-4.0 * (values - self.centre) / self.width))
                return bright
            case "LINEAR":
                # LINEAR counts pixels, not lengths: centre and width are half a value and a whole one less.
                return _ramp(values, self.centre - 0.5, self.width - 1.0)
            case "LINEAR_EXACT":
                return _ramp(values, self.centre, self.width)

    @property
    def is_usable(self) -> bool:
        """Whether centre and width are numbers that the standard allows."""
        least = 1.0 if self.function == "LINEAR" else np.nextafter(0.0, 1.0)
        return bool(np.isfinite(self.centre) and np.isfinite(self.width) and self.width >= least)


@dataclass(frozen=True, slots=True)
class Grayscale:
    """How stored values are shown. Without `interest`, a window is laid over the pixels' own range.

    The value in a word is `bits_stored` wide and ends at `high_bit` (PS3.3 C.7.6.3.1.1). `padding` is the range of stored
    values that are no image (C.7.5.1.1.2), left out when that range is sought.
    """

    bits_stored: int
    high_bit: int
    is_signed: bool
    modality: Rescale | LookupTable
    interest: LookupTable | Window | None
    is_inverted: bool
    padding: tuple[int, int] | None = None

    def __call__(self, words: Words) -> NDArray[np.uint8]:
        """`words` of any shape as grey of the same.

        There are at most 65,536 different words, so the sums are done once for each of those, in float64, and the image
        is only looked up.
        """
        table = self._table(words)
        grey = np.empty(words.shape, dtype=np.uint8)
        source, target = words.reshape(-1), grey.reshape(-1)
        for start in range(0, source.size, _CHUNK_PIXELS):
            part = slice(start, start + _CHUNK_PIXELS)
            np.take(table, source[part], out=target[part], mode="clip")
        return grey

    def _table(self, words: Words) -> NDArray[np.uint8]:
        stored = self._stored_values(8 * words.dtype.itemsize)
        values = self.modality(stored.astype(np.float64))
        interest = self.interest or _window_of(values, self._counts(words, stored))
        share = interest.share(values)
        shown = 1.0 - share if self.is_inverted else share
        return np.rint(255.0 * shown).astype(np.uint8)

    def _stored_values(self, width: int) -> NDArray[np.int64]:
        """The stored value in each word of `width` bits."""
        bits = min(self.bits_stored, width)
        word = np.arange(1 << width, dtype=np.int64)
        value = word >> max(0, min(self.high_bit, width - 1) + 1 - bits) & ((1 << bits) - 1)
        return value - (value >> (bits - 1) << bits) if self.is_signed else value

    def _counts(self, words: Words, stored: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many pixels have each word; those of padding are none, unless there are no others."""
        counts = np.zeros(len(stored), dtype=np.int64)
        flat = words.reshape(-1)
        for start in range(0, flat.size, _CHUNK_PIXELS):
            counts += np.bincount(flat[start : start + _CHUNK_PIXELS], minlength=len(stored))
        if self.padding:
            image = np.where((stored >= self.padding[0]) & (stored <= self.padding[1]), 0, counts)
            return image if image.any() else counts
        return counts


def _ramp(values: Values, centre: float, width: float) -> Values:
    share = np.where(values <= centre - width / 2.0, 0.0, 1.0)
    rising = (values > centre - width / 2.0) & (values <= centre + width / 2.0)
    share[rising] = (values[rising] - centre) / width + 0.5
    return share


def _window_of(values: Values, counts: NDArray[np.int64]) -> Window:
    """From the smallest value that `LOW_PERCENT` of the pixels do not exceed to that for `HIGH_PERCENT`."""
    used = np.flatnonzero(counts)
    used = used[np.argsort(values[used], kind="stable")]
    below = np.cumsum(counts[used])
    low, high = (
        values[used[np.searchsorted(below, below[-1] * (percent / 100.0))]] for percent in (LOW_PERCENT, HIGH_PERCENT)
    )
    return Window(float(low + high) / 2.0, float(high - low), "LINEAR_EXACT")
