"""Pulmonary vessels that fork twice."""

from __future__ import annotations

import math

import numpy as np

from archives.phantoms.canvas import Points

Line = tuple[Points, float, float]
"""Points, width in body pixels, level from 0 to 1."""


def branch(
    rng: np.random.Generator, sign: int, start: tuple[float, float], bearing: float, length: float
) -> list[Line]:
    """A vessel with its branches. `bearing` in degrees: 0 is outwards, 90 is down."""
    lines: list[Line] = []
    open_ends = [(start, bearing, length, 3.1, 0.95)]
    turns = rng.uniform(-1, 1, size=(7, 5)).tolist()
    for bends in turns:
        (x, y), bearing, length, width, level = open_ends.pop(0)
        points = [(x, y)]
        for bend in bends[:3]:
            bearing += 9 * bend
            x += sign * math.cos(math.radians(bearing)) * length / 3
            y += math.sin(math.radians(bearing)) * length / 3
            points.append((x, y))
        lines.append((points, width, level))
        for fork in (18 + 8 * bends[3], -18 + 8 * bends[4]):
            open_ends.append(((x, y), bearing + fork, length * 0.72, width * 0.62, level * 0.80))
    return lines
