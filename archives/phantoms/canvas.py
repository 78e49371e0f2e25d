"""Drawing tools: a grid in body coordinates, soft edges, strokes and noise, all in float32.

Body coordinates are pixels of a 256 x 256 image of an upright, centred patient of average size: x to the image's right,
y downwards. In frontal views the midline is x = 0; in lateral views x = 0 is the left edge of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 256
Field = NDArray[np.floating[Any]]
Points = Sequence[tuple[float, float]]

# Curves are tabulated in steps of a quarter pixel. The range includes all rotated and shifted grids.
_STEPS = 4
_LOW, _HIGH = -90, 370
_SUPERSAMPLING = 2


class Canvas:
    """A 256 x 256 grid with the body coordinates of each pixel.

    Attributes:
        x: body x of each pixel, float32 [256, 256].
        y: body y of each pixel, float32 [256, 256].
    """

    def __init__(self, *, origin_x: float, scale: float, turn_deg: float, shift: tuple[float, float]) -> None:
        """Make the grid: body point (`origin_x`, 128) lies at the image centre plus `shift`; `scale` magnifies."""
        self._origin = (origin_x, SIZE / 2)
        self.scale = scale
        self._cos = math.cos(math.radians(turn_deg))
        self._sin = math.sin(math.radians(turn_deg))
        columns = np.arange(SIZE, dtype=np.float32)[None, :] + 0.5 - SIZE / 2 - shift[0]
        rows = np.arange(SIZE, dtype=np.float32)[:, None] + 0.5 - SIZE / 2 - shift[1]
        self.x: Field = ((self._cos * columns + self._sin * rows) / scale + self._origin[0]).astype(np.float32)
        self.y: Field = ((self._cos * rows - self._sin * columns) / scale + self._origin[1]).astype(np.float32)
        self._row_index = _index(self.y)
        turn = np.array([[self._cos, self._sin], [-self._sin, self._cos]]) * scale
        self._to_layer = turn * _SUPERSAMPLING
        self._layer_shift = (np.array(shift) + SIZE / 2 - np.array(self._origin) @ turn) * _SUPERSAMPLING

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
        """The distance of each pixel from the centre, in units of the ellipse: below 1 inside."""
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        if turn_deg:
            cos, sin = (math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg)))
            dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
        radius: Field = np.sqrt((dx / np.float32(half_x)) ** 2 + (dy / np.float32(half_y)) ** 2)
        return radius

    def disc(self, x: float, y: float, half_x: float, half_y: float, *, soft: float, turn_deg: float = 0.0) -> Field:
        """A filled ellipse: 1 inside, 0 outside, with an edge `soft` pixels wide."""
        radius = self.ellipse(x, y, half_x, half_y, turn_deg=turn_deg)
        return edge((1 - radius) * np.float32(math.sqrt(half_x * half_y)), soft)

    def strokes(self) -> Strokes:
        """An empty layer for lines and polygons."""
        return Strokes(self)

    def to_layer(self, points: Points | NDArray[np.float64]) -> list[float]:
        """Coordinates of body points on the supersampled layer: x, y, x, y, ..."""
        placed = np.asarray(points, dtype=np.float64) @ self._to_layer + self._layer_shift
        flat: list[float] = placed.ravel().tolist()
        return flat

    def to_layers(self, lines: Sequence[Points]) -> list[list[float]]:
        """The same for many lines with the same number of points."""
        placed = np.asarray(lines, dtype=np.float64) @ self._to_layer + self._layer_shift
        flat: list[list[float]] = placed.reshape(len(lines), -1).tolist()
        return flat


class Strokes:
    """Lines and polygons at twice the resolution; later ones cover earlier ones."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._image = Image.new("L", (SIZE * _SUPERSAMPLING,) * 2)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Points | NDArray[np.float64], width: float, level: float) -> None:
        """A line of `width` body pixels; `level` 0..1."""
        self._stroke(self._canvas.to_layer(points), width, level)

    def lines(self, lines: Sequence[tuple[Points, float, float]]) -> None:
        """Many lines with the same number of points, each as (points, width, level)."""
        for placed, (_, width, level) in zip(self._canvas.to_layers([line[0] for line in lines]), lines, strict=True):
            self._stroke(placed, width, level)

    def polygon(self, points: Points, level: float) -> None:
        """A filled polygon; `level` 0..1."""
        self._draw.polygon(self._canvas.to_layer(points), fill=round(255 * level))

    def band(self, centre: NDArray[np.float64], widths: NDArray[np.float64], *, fill: float, rim: float) -> None:
        """A long bone along the `centre` line [N, 2] with `widths` [N]; the cortex is brighter than the marrow."""
        along = np.empty_like(centre)
        along[1:-1] = centre[2:] - centre[:-2]
        along[0], along[-1] = centre[1] - centre[0], centre[-1] - centre[-2]
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        normal *= (widths / 2 / np.hypot(along[:, 0], along[:, 1]))[:, None]
        outline = self._canvas.to_layer(np.concatenate([centre + normal, (centre - normal)[::-1]]))
        self._draw.polygon(outline, fill=round(255 * fill))
        half = len(outline) // 2
        self._stroke(outline[:half], 0.8, rim)
        self._stroke(outline[half:], 0.8, rim)

    def _stroke(self, placed: list[float], width: float, level: float) -> None:
        pixels = max(1, round(width * self._canvas.scale * _SUPERSAMPLING))
        # Joints are filled only if a gap would be visible.
        self._draw.line(placed, fill=round(255 * level), width=pixels, joint="curve" if pixels > 3 else None)

    def field(self) -> Field:
        """The layer at image resolution, 0..1."""
        return np.asarray(self._image.reduce(_SUPERSAMPLING), dtype=np.float32) / np.float32(255)


def curve(knots: Points, *, smooth: float = 4.0) -> Field:
    """A table for `Canvas.by_row` or `by_column`: knots (position, value), smoothed over `smooth` pixels."""
    positions = np.arange(_LOW * _STEPS, _HIGH * _STEPS) / _STEPS
    places, values = zip(*sorted(knots), strict=True)
    table = np.interp(positions, places, values)
    if smooth > 0:
        reach = int(3 * smooth * _STEPS)
        bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (smooth * _STEPS)) ** 2)
        table = np.convolve(np.pad(table, reach, mode="edge"), bell / bell.sum(), mode="valid")
    smoothed: Field = table.astype(np.float32)
    return smoothed


def value(table: Field, position: float) -> float:
    """One value of a tabulated curve."""
    return float(table[min(max(int((position - _LOW) * _STEPS), 0), len(table) - 1)])


def edge(distance: Field, soft: float) -> Field:
    """A smooth step: 0 where `distance` is below -soft, 1 where it is above."""
    # In place: at 256 x 256 allocation takes longer than arithmetic.
    step: Field = distance * np.float32(0.5 / soft)
    step += np.float32(0.5)
    np.maximum(step, 0, out=step)
    np.minimum(step, 1, out=step)
    result: Field = np.float32(-2) * step
    result += np.float32(3)
    result *= step
    result *= step
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
            pair *= taps[offset]
            total += pair
        field = total if axis == 0 else total.T
    return field


def haze(field: Field) -> Field:
    """A wide blur of about 14 pixels, like scattered radiation."""
    coarse = field.reshape(SIZE // 8, 8, SIZE // 8, 8).mean(axis=(1, 3))
    image = Image.fromarray(np.ascontiguousarray(blur(coarse, 1.7)))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)


def clouds(rng: np.random.Generator, grain: int) -> Field:
    """Smooth noise of about unit variance, with bumps of about `grain` pixels."""
    cells = SIZE // grain + 2
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)


@lru_cache(maxsize=32)
def _bell(sigma: float) -> Field:
    """Half of a normalised Gaussian kernel, from its centre outwards."""
    half = np.exp(-0.5 * (np.arange(math.ceil(2.6 * sigma) + 1) / sigma) ** 2)
    kernel: Field = (half / (2 * half.sum() - half[0])).astype(np.float32)
    return kernel


def _index(position: Field) -> NDArray[np.intp]:
    step = (position - np.float32(_LOW)) * np.float32(_STEPS)
    np.maximum(step, 0, out=step)
    np.minimum(step, (_HIGH - _LOW) * _STEPS - 1, out=step)
    return step.astype(np.intp)
