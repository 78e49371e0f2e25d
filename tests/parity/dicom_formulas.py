"""The formulas of the standard for grey values, computed pixel by pixel in plain Python: the slow reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.imaging.decode import decode_image

Curve = Callable[[float], float]


def shown(data: bytes) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    image = decode_image(data)
    return np.asarray(image), image.info.get("notes", ())


def reference(stored: NDArray[Any], modality: Curve, share: Curve, *, inverted: bool = False) -> NDArray[np.uint8]:
    """PS3.3 C.11.1, C.11.2 and C.7.6.3.1.2, then 8 bits, value by value."""
    rows = []
    for row in stored.tolist():
        bright = [share(modality(float(value))) for value in row]
        rows.append([round(255.0 * (1.0 - value if inverted else value)) for value in bright])
    return np.array(rows, dtype=np.uint8)


def same(value: float) -> float:
    return value


def rescale(slope: float, intercept: float) -> Curve:
    return lambda value: value * slope + intercept


def table(entries: list[int], first: int) -> Curve:
    return lambda value: float(entries[min(max(round(value) - first, 0), len(entries) - 1)])


def voi_table(entries: list[int], first: int, bits: int) -> Curve:
    return lambda value: table(entries, first)(value) / (2**bits - 1)


def linear(centre: float, width: float) -> Curve:
    """PS3.3 C.11.2.1.2.1."""

    def share(x: float) -> float:
        if x <= centre - 0.5 - (width - 1) / 2:
            return 0.0
        if x > centre - 0.5 + (width - 1) / 2:
            return 1.0
        return (x - (centre - 0.5)) / (width - 1) + 0.5

    return share


def linear_exact(centre: float, width: float) -> Curve:
    """PS3.3 C.11.2.1.3.2."""

    def share(x: float) -> float:
        if x <= centre - width / 2:
            return 0.0
        return 1.0 if x > centre + width / 2 else (x - centre) / width + 0.5

    return share


def sigmoid(centre: float, width: float) -> Curve:
    """PS3.3 C.11.2.1.3.1."""
    return lambda x: 1.0 / (1.0 + math.exp(-4.0 * (x - centre) / width))


def percentiles(values: NDArray[Any]) -> Curve:
    """Black is the least value that .5 % of the pixels do not exceed; white is that for 99.5 %."""
    ranked = sorted(float(value) for value in values.reshape(-1))
    low, high = (ranked[max(0, math.ceil(share * len(ranked)) - 1)] for share in (0.005, 0.995))
    return lambda x: 0.0 if x <= low else 1.0 if x > high else (x - (low + high) / 2.0) / (high - low) + 0.5


def ramp(low: int, high: int, dtype: Any = np.uint16, shape: tuple[int, int] = (24, 30)) -> NDArray[Any]:
    """Values from `low` to `high`, shuffled so that rows and columns differ."""
    values = np.linspace(low, high, shape[0] * shape[1]).round().astype(dtype)
    shuffled: NDArray[Any] = np.random.default_rng(7).permutation(values).reshape(shape)
    return shuffled


TWELVE = ramp(0, 4095)
SIGNED = ramp(-2048, 2047, np.int16)
WINDOW = {"WindowCenter": "2000", "WindowWidth": "1000", "BitsStored": 12}
