"""Configurations of the two demo models, which are trained on phantoms; `benchmarks/demo_models.py` makes them."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = ("phantom-siglip", "phantom-clip")


def config_path(name: str) -> Path:
    """The training configuration of a demo model."""
    return FOLDER / f"{name}.json"
