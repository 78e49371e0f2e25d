"""Cosines between two sets of embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def row_cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each row of `one` with the same row of `other`; the rows can have any norm."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: NDArray[np.float64] = (first * second).sum(axis=1) / lengths
    return cosines
