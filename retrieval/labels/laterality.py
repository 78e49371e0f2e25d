"""Laterality: the side of the body that a finding is on."""

from __future__ import annotations

from typing import Literal, get_args

Side = Literal["left", "right", "bilateral"]
"""The only meaning of `side` in this project."""

SIDES: tuple[Side, ...] = get_args(Side)
