"""The bits of a word that hold the stored value, and its sign: from the header, corrected by the pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint8] | NDArray[np.uint16]
Counts = NDArray[np.int64]

HIGH_BIT_NOTE = "HighBit contradicts the pixels: ignored"
BITS_NOTE = "BitsStored contradicts the pixels: all bits used"
SIGN_NOTE = "PixelRepresentation contradicts the pixels: ignored"

# Share of the ring of values on each side of a cut that is examined.
_MARGIN = 64
_SAMPLED_ROWS = 256
# A wrong sign or overlay bits (retired) make neighbouring pixels differ more; the right reading is smoother by this factor.
_SMOOTHER = 0.9


@dataclass(frozen=True, slots=True)
class StoredBits:
    """A value of `bits` bits whose highest bit is `high_bit` of its word; two's complement if signed (PS3.3 C.7.6.3.1.1)."""

    bits: int
    high_bit: int
    is_signed: bool

    def within(self, width: int) -> StoredBits:
        """The same value in words of `width` bits."""
        bits = min(self.bits, width)
        return replace(self, bits=bits, high_bit=max(min(self.high_bit, width - 1), bits - 1))

    @property
    def shift(self) -> int:
        """Bits of the word below the value."""
        return self.high_bit + 1 - self.bits

    def values(self, width: int) -> NDArray[np.int64]:
        """The stored value of each word of `width` bits: int64 [2 ** width]."""
        fitted = self.within(width)
        value = np.arange(1 << width, dtype=np.int64) >> fitted.shift & ((1 << fitted.bits) - 1)
        return value - (value >> (fitted.bits - 1) << fitted.bits) if self.is_signed else value


def fit_bits(stated: StoredBits, words: Words, counts: Counts) -> tuple[StoredBits, str]:
    """`stated`, corrected if the pixels contradict it, and a note; the note is empty if nothing was corrected.

    `counts` are the pixels with each word. Only certain contradictions are corrected.
    """
    width = 8 * words.dtype.itemsize
    stated = stated.within(width)
    used = np.flatnonzero(counts)
    if stated.shift and used[-1] < 1 << stated.bits and (used & ((1 << stated.shift) - 1)).any():
        return replace(stated, high_bit=stated.bits - 1), HIGH_BIT_NOTE
    if not stated.shift and stated.bits < width:
        if _is_sign_extended(used, stated.bits, width):
            return replace(stated, is_signed=True), "" if stated.is_signed else SIGN_NOTE
        if used[-1] >> stated.bits:
            whole = StoredBits(width, width - 1, stated.is_signed)
            return (whole, BITS_NOTE) if _is_smoother(whole, stated, words) else (stated, "")
    other = replace(stated, is_signed=not stated.is_signed)
    return (other, SIGN_NOTE) if _is_cut_through(stated, other, words, counts) else (stated, "")


def _is_sign_extended(used: NDArray[np.intp], bits: int, width: int) -> bool:
    """Whether some values are negative, and in all words the sign fills the bits above the value."""
    half = 1 << (bits - 1)
    is_negative = used >= (1 << width) - half
    return bool(is_negative.any() and (is_negative | (used < half)).all())


def _is_cut_through(stated: StoredBits, other: StoredBits, words: Words, counts: Counts) -> bool:
    """Whether the stated sign cuts through the values of the image, and the other sign does not.

    The values form a ring. Unsigned values cut it between the highest and 0, signed values in its middle.
    """
    if stated.shift or stated.bits < 10:
        return False
    ring = counts.reshape(-1, 1 << stated.bits).sum(axis=0) > 0
    margin = len(ring) // _MARGIN
    # At least half as dense as the rest.
    dense = max(2.0, ring.sum() / len(ring) * margin / 2.0)

    def used_around(cut: int) -> int:
        """The used values on the side of `cut` with fewer of them."""
        around = np.roll(ring, margin - cut)
        return min(int(around[:margin].sum()), int(around[margin : 2 * margin].sum()))

    middle, ends = used_around(len(ring) // 2), used_around(0)
    if stated.is_signed:
        # One value at an end is that of clipped pixels.
        return middle >= dense and (ends <= 1 or _is_smoother(other, stated, words))
    # An unsigned image may have dark and bright parts and little between: so the middle half must be empty.
    quarter = len(ring) // 4
    return ends >= dense and not ring[quarter : 3 * quarter].any()


def _is_smoother(one: StoredBits, other: StoredBits, words: Words) -> bool:
    """Whether neighbouring pixels differ clearly less if the words are read as `one` instead of `other`; on sampled rows."""
    width = 8 * words.dtype.itemsize
    rows = words.reshape(words.shape[0], -1)[:: max(1, words.shape[0] // _SAMPLED_ROWS)]
    first, second = (float(np.abs(np.diff(bits.values(width)[rows], axis=1)).sum()) for bits in (one, other))
    return first < _SMOOTHER * second
