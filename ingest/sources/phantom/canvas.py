"""The film plane: a grid in body coordinates, soft edges, strokes and noise, all in float32.

Body coordinates are pixels of a 256 x 256 image of an upright, centred patient of average size: x to the image's right,
y downwards. The frontal views' midline is x = 0, the lateral views' x runs from 0 at the image's left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 256
Field = NDArray[np.float32]
Points = Sequence[tuple[float, float]]

# Curves are tabulated every quarter pixel over a range that a rotated or shifted grid does not leave.
_STEPS = 4
_LOW, _HIGH = -320, 480
_SUPERSAMPLING = 2


class Canvas:
    """A 256 x 256 grid that knows where each of its pixels lies in the body.

    Attributes:
        x: body x of each pixel, float32 [256, 256].
        y: body y of each pixel, float32 [256, 256].
    """

    def __init__(self, *, origin_x: float, scale: float, turn_deg: float, shift: tuple[float, float]) -> None:
        """Lay the grid: body (`origin_x`, 128) falls on the image's centre plus `shift`, `scale` magnifies."""
        self._origin = (origin_x, SIZE / 2)
        self._shift = shift
        self.scale = scale
        self._cos = math.cos(math.radians(turn_deg))
        self._sin = math.sin(math.radians(turn_deg))
        columns = np.arange(SIZE, dtype=np.float32)[None, :] + 0.5 - SIZE / 2 - shift[0]
        rows = np.arange(SIZE, dtype=np.float32)[:, None] + 0.5 - SIZE / 2 - shift[1]
        self.x: Field = ((self._cos * columns + self._sin * rows) / scale + self._origin[0]).astype(np.float32)
        self.y: Field = ((self._cos * rows - self._sin * columns) / scale + self._origin[1]).astype(np.float32)
        self._row_index = _index(self.y)

    def by_row(self, table: Field) -> Field:
        """The tabulated curve x(y) at each pixel."""
        return table[self._row_index]

    def by_column(self, table: Field, x: Field | None = None) -> Field:
        """The tabulated curve y(x) at each pixel, or at the body coordinates `x`."""
        return table[_index(self.x if x is None else x)]

    def at(self, table: Field, y: Field) -> Field:
        """A tabulated curve at the body coordinates `y`."""
        return table[_index(y)]

    def ellipse(self, x: float, y: float, half_x: float, half_y: float, *, turn_deg: float = 0.0) -> Field:
        """Radius of each pixel in units of the ellipse's: below 1 inside."""
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        if turn_deg:
            cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
            dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
        radius: Field = np.sqrt((dx / np.float32(half_x)) ** 2 + (dy / np.float32(half_y)) ** 2)
        return radius

    def disc(self, x: float, y: float, half_x: float, half_y: float, *, soft: float, turn_deg: float = 0.0) -> Field:
        """A filled ellipse, 1 inside and 0 outside, its edge `soft` pixels wide."""
        radius = self.ellipse(x, y, half_x, half_y, turn_deg=turn_deg)
        return edge((1 - radius) * np.float32(math.sqrt(half_x * half_y)), soft)

    def strokes(self) -> Strokes:
        """An empty layer to draw lines and polygons on."""
        return Strokes(self)

    def to_pixels(self, points: Points) -> list[tuple[float, float]]:
        """Pixel coordinates of body coordinates, in units of the supersampled layer."""
        placed = []
        for x, y in points:
            dx, dy = (x - self._origin[0]) * self.scale, (y - self._origin[1]) * self.scale
            column = self._cos * dx - self._sin * dy + SIZE / 2 + self._shift[0]
            row = self._sin * dx + self._cos * dy + SIZE / 2 + self._shift[1]
            placed.append((column * _SUPERSAMPLING, row * _SUPERSAMPLING))
        return placed


class Strokes:
    """Lines and polygons at twice the resolution; what is drawn later covers what was drawn before."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._image = Image.new("L", (SIZE * _SUPERSAMPLING,) * 2)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Points, width: float, level: float) -> None:
        """A line of `width` body pixels; `level` 0..1."""
        pixels = max(1, round(width * self._canvas.scale * _SUPERSAMPLING))
        self._draw.line(self._canvas.to_pixels(points), fill=round(255 * level), width=pixels, joint="curve")

    def polygon(self, points: Points, level: float) -> None:
        """A filled polygon; `level` 0..1."""
        self._draw.polygon(self._canvas.to_pixels(points), fill=round(255 * level))

    def band(self, centre: Points, widths: Sequence[float], *, fill: float, rim: float) -> None:
        """A long bone: a band about the `centre` line, its cortex brighter than its marrow."""
        line = np.array(centre)
        along = np.gradient(line, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.linalg.norm(along, axis=1, keepdims=True)
        half = np.array(widths)[:, None] / 2
        upper = [(float(x), float(y)) for x, y in line + normal * half]
        lower = [(float(x), float(y)) for x, y in line - normal * half]
        self.polygon(upper + lower[::-1], fill)
        self.line(upper, 0.8, rim)
        self.line(lower, 0.8, rim)

    def field(self) -> Field:
        """The layer at image resolution, 0..1."""
        return np.asarray(self._image.reduce(_SUPERSAMPLING), dtype=np.float32) / np.float32(255)


def curve(knots: Points, *, smooth: float = 4.0) -> Field:
    """A table for `Canvas.by_row` or `by_column`: (position, value) knots joined and smoothed over `smooth` pixels."""
    positions = np.arange(_LOW * _STEPS, _HIGH * _STEPS) / _STEPS
    places, values = zip(*sorted(knots), strict=True)
    table = np.interp(positions, places, values)
    if smooth > 0:
        reach = int(3 * smooth * _STEPS)
        bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (smooth * _STEPS)) ** 2)
        table = np.convolve(np.pad(table, reach, mode="edge"), bell / bell.sum(), mode="valid")
    return table.astype(np.float32)


def value(table: Field, position: float) -> float:
    """One value of a tabulated curve."""
    return float(table[min(max(int((position - _LOW) * _STEPS), 0), len(table) - 1)])


def edge(distance: Field, soft: float) -> Field:
    """A smooth step: 0 where `distance` is below -soft, 1 where it is above."""
    step = np.clip(distance * np.float32(0.5 / soft) + np.float32(0.5), 0, 1)
    result: Field = step * step * (np.float32(3) - np.float32(2) * step)
    return result


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur with a standard deviation of `sigma` pixels, at most 4; edges repeat."""
    taps = _bell(sigma)
    reach = len(taps) - 1
    for axis in (0, 1):
        padded = np.pad(field, [(reach, reach) if axis == side else (0, 0) for side in (0, 1)], mode="edge")
        lines = padded if axis == 0 else padded.T
        count = len(lines) - 2 * reach
        total = lines[reach : reach + count] * taps[0]
        for offset in range(1, reach + 1):
            pair = lines[reach - offset : reach - offset + count] + lines[reach + offset : reach + offset + count]
            total += pair * taps[offset]
        field = total if axis == 0 else total.T
    return field


def haze(field: Field) -> Field:
    """A very wide blur, some 14 pixels: what scattered radiation makes of an image."""
    coarse = field.reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3))
    image = Image.fromarray(np.ascontiguousarray(blur(coarse, 1.7)))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)


def clouds(rng: np.random.Generator, grain: int) -> Field:
    """Smooth noise of unit variance or so, with bumps of about `grain` pixels."""
    cells = SIZE // grain + 2
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)


@lru_cache(maxsize=32)
def _bell(sigma: float) -> Field:
    """Half of a normalised Gaussian kernel, from its centre outwards."""
    half = np.exp(-0.5 * (np.arange(math.ceil(2.6 * sigma) + 1) / sigma) ** 2)
    return (half / (2 * half.sum() - half[0])).astype(np.float32)


def _index(position: Field) -> NDArray[np.intp]:
    return np.clip((position - _LOW) * _STEPS, 0, (_HIGH - _LOW) * _STEPS - 1).astype(np.intp)
