"""Turns attenuation into an 8-bit image: exposure, scatter, noise, collimation, side marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archives.phantoms.canvas import SIZE, Field, blur, haze


@dataclass(frozen=True, slots=True)
class FilmExposure:
    """The exposure of one film."""

    black: float
    white: float
    gamma: float
    noise: float
    sharpness_px: float
    scatter: float
    collimation: tuple[int, int, int, int]
    marker: tuple[int, int] | None


def choose_exposure(rng: np.random.Generator) -> FilmExposure:
    """A random exposure: mostly correct, sometimes a little bright, dark, soft or noisy."""
    sides = [int(side) for side in rng.integers(1, 12, size=4)] if rng.random() < 0.3 else [0, 0, 0, 0]
    return FilmExposure(
        black=rng.uniform(0.02, 0.12),
        white=rng.uniform(1.18, 1.42),
        gamma=rng.uniform(0.85, 1.2),
        noise=rng.uniform(0.003, 0.009),
        sharpness_px=rng.uniform(0.35, 0.75),
        scatter=rng.uniform(0.03, 0.12),
        collimation=(sides[0], sides[1], sides[2], sides[3]),
        marker=(int(rng.integers(205, 238)), int(rng.integers(8, 30))) if rng.random() < 0.7 else None,
    )


def expose(attenuation: Field, exposure: FilmExposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The image: uint8 [256, 256], dense tissue bright."""
    image = blur(attenuation, exposure.sharpness_px)
    image = (1 - exposure.scatter) * image + exposure.scatter * haze(attenuation)
    level = np.clip((image - exposure.black) / np.float32(exposure.white - exposure.black), 0, None)
    # Shoulder of the film curve: dense parts lose contrast smoothly instead of clipping.
    level = np.where(level > 0.75, 0.75 + 0.25 * np.tanh((level - 0.75) / 0.25), level) ** np.float32(exposure.gamma)
    # Quantum noise is stronger where less radiation arrives.
    level += rng.standard_normal(level.shape, dtype=np.float32) * (0.5 + level) * np.float32(exposure.noise)
    if exposure.marker:
        _stamp(level, *exposure.marker)
    top, bottom, left, right = exposure.collimation
    level[:top] *= 0.12
    level[SIZE - bottom :] *= 0.12
    level[:, :left] *= 0.12
    level[:, SIZE - right :] *= 0.12
    picture: NDArray[np.uint8] = np.clip(level * np.float32(250) + np.float32(3), 0, 255).astype(np.uint8)
    return picture


def _stamp(level: Field, column: int, row: int) -> None:
    """Stamp a lead letter L."""
    level[row : row + 10, column : column + 2] = 0.97
    level[row + 8 : row + 10, column : column + 7] = 0.97
