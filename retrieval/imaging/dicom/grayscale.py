"""Stored values -> 8-bit grey, in the order of PS3.4 N.2: modality transformation, VOI transformation, polarity, 8 bits.

DICOM images and 16-bit pictures become 8 bits here, and nowhere else. Of several ways to show an image, the first one that
keeps its contrast is used (`retrieval.imaging.contrast`). docs/explanation/pixels.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.imaging.contrast import HIGH_PERCENT, LEAST_SPREAD, LOW_PERCENT, Contrast, choose_first_kept, no_contrast
from retrieval.imaging.dicom.stored_bits import Counts, StoredBits, Words, fit_bits

# Pixels that stay in the processor cache while they are counted or mapped; this halves the time.
_CHUNK_PIXELS = 1 << 16

Values = NDArray[np.float64]
OWN_RANGE = f"percentiles {LOW_PERCENT} to {HIGH_PERCENT}"


@dataclass(frozen=True, slots=True)
class Rescale:
    """Rescale: modality value = slope x stored value + intercept (PS3.3 C.11.1.1.2). The slope may be negative, never 0."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: Values) -> Values:
        """The modality values."""
        return values * self.slope + self.intercept


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A lookup table: entry n is the output for the input `first` + n (PS3.3 C.11.1.1, C.11.2.1.1).

    Inputs below and above get the first and the last entry. The entry `maximum` is shown white.
    """

    first: int
    entries: Values
    maximum: float

    def __call__(self, values: Values) -> Values:
        """The entries for `values`, which are rounded to whole numbers."""
        position = np.rint(values) - self.first
        entries: Values = self.entries[np.clip(position, 0, len(self.entries) - 1).astype(np.int64)]
        return entries

    def brightness(self, values: Values) -> Values:
        """Brightness, 0 to 1: the entries divided by `maximum`."""
        return np.clip(self(values) / self.maximum, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window: centre and width in modality values, and its function (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

    centre: float
    width: float
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    def brightness(self, values: Values) -> Values:
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
class Rendering:
    """One way to show stored values: a modality transformation, then a VOI transformation.

    Without `voi`, a window over percentiles of the image is used. An image shown in this way gets the `note`, unless it is
    empty. `least_spread` is the contrast that has to be kept (`Contrast.spread`).
    """

    modality: Callable[[Values], Values]
    voi: LookupTable | Window | None
    note: str = ""
    least_spread: int = LEAST_SPREAD

    def grey_levels(self, stored: NDArray[np.int64], counts: Counts, *, is_inverted: bool) -> NDArray[np.uint8]:
        """The grey level of each stored value; `counts` are the pixels of the image with each value."""
        # An extreme slope overflows and loses the contrast; then the next rendering is used.
        with np.errstate(all="ignore"):
            values = np.nan_to_num(self.modality(stored.astype(np.float64)))
            share = np.nan_to_num((self.voi or _percentile_window(values, counts)).brightness(values))
        return np.rint(255.0 * (1.0 - share if is_inverted else share)).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Grayscale:
    """Maps stored values to grey by the first of `renderings` that keeps the contrast of the image.

    `padding` is the range of stored values outside the image (PS3.3 C.7.5.1.1.2). They do not count for the contrast.
    """

    bits: StoredBits
    renderings: tuple[Rendering, ...]
    is_inverted: bool = False
    padding: tuple[int, int] | None = None

    def __call__(self, words: Words, *, name: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Grey levels in the shape of `words`, and notes on how they were chosen.

        There are at most 65,536 different words. The level of each is computed once, in float64; pixels are then looked up.

        Raises:
            NoContrast: all pixels of the image `name`, except padding, have the same value.
        """
        counts = count_words(words)
        bits, note = fit_bits(self.bits, words, counts)
        if np.count_nonzero(self._without_padding(counts, bits.values(len(counts).bit_length() - 1))) < 2:
            raise no_contrast(name)
        table, notes = self.table(counts, bits)
        return look_up(table, words), (note, *notes) if note else notes

    def table(self, counts: Counts, bits: StoredBits | None = None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """The grey level of each word, and notes; `counts` are the pixels of the image with each word."""
        stored = (bits or self.bits).values(len(counts).bit_length() - 1)
        counts = self._without_padding(counts, stored)
        tables, contrasts = [], []
        for rendering in self.renderings:
            tables.append(rendering.grey_levels(stored, counts, is_inverted=self.is_inverted))
            # In float64 counts are exact up to 2 ** 53 pixels.
            histogram = np.bincount(tables[-1], weights=counts, minlength=256).astype(np.int64)
            contrasts.append(Contrast.of(histogram))
            if contrasts[-1].is_kept(rendering.least_spread):
                break
        chosen = choose_first_kept(
            contrasts, [rendering.least_spread for rendering in self.renderings[: len(contrasts)]]
        )
        note = self.renderings[chosen].note
        return tables[chosen], (note,) if note else ()

    def _without_padding(self, counts: Counts, stored: NDArray[np.int64]) -> Counts:
        """`counts` with 0 for padding; unchanged if the image is padding only."""
        if self.padding is None:
            return counts
        image = np.where((stored >= self.padding[0]) & (stored <= self.padding[1]), 0, counts)
        return image if image.any() else counts


def count_words(words: Words) -> Counts:
    """Pixels with each word: int64 [256] or [65536]."""
    counts = np.zeros(1 << (8 * words.dtype.itemsize), dtype=np.int64)
    flat = words.reshape(-1)
    for start in range(0, flat.size, _CHUNK_PIXELS):
        counts += np.bincount(flat[start : start + _CHUNK_PIXELS], minlength=len(counts))
    return counts


def look_up(table: NDArray[np.uint8], words: Words) -> NDArray[np.uint8]:
    """The entry of `table` for each word, in the shape of `words`."""
    grey = np.empty(words.shape, dtype=np.uint8)
    source, target = words.reshape(-1), grey.reshape(-1)
    for start in range(0, source.size, _CHUNK_PIXELS):
        part = slice(start, start + _CHUNK_PIXELS)
        np.take(table, source[part], out=target[part], mode="clip")
    return grey


def _ramp(values: Values, centre: float, width: float) -> Values:
    share = np.where(values <= centre - width / 2.0, 0.0, 1.0)
    rising = (values > centre - width / 2.0) & (values <= centre + width / 2.0)
    share[rising] = (values[rising] - centre) / width + 0.5
    return share


def _percentile_window(values: Values, counts: Counts) -> Window:
    """The window from the percentile `LOW_PERCENT` of the pixels to the percentile `HIGH_PERCENT`.

    If those are equal, as with a few bright pixels on black, from the lowest value to the highest.
    """
    used = np.flatnonzero(counts)
    used = used[np.argsort(values[used], kind="stable")]
    below = np.cumsum(counts[used])
    low, high = (
        values[used[np.searchsorted(below, below[-1] * (percent / 100.0))]] for percent in (LOW_PERCENT, HIGH_PERCENT)
    )
    if low == high:
        low, high = values[used[0]], values[used[-1]]
    return Window(float(low + high) / 2.0, float(high - low), "LINEAR_EXACT")
