"""The patient: the body that both views show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from archives.phantoms.findings import Finding, Kind

# Cardiothoracic ratio on a PA film; above 0.50 the heart is enlarged (Danzer 1919).
_NORMAL_RATIO = (0.405, 0.462)
_RATIOS = {"borderline": (0.498, 0.520), "mild": (0.555, 0.585), "moderate": (0.61, 0.65), "severe": (0.69, 0.75)}


@dataclass(frozen=True, slots=True)
class Patient:
    """Build, posture and findings. Lengths in body pixels (see `canvas`)."""

    findings: tuple[Finding, ...]
    chest_half: float
    """Half the inner width of the chest at its widest."""
    apex_y: float
    dome_right_y: float
    dome_left_y: float
    angle_depth: float
    """Height from dome to costophrenic angle."""
    heart_ratio: float
    fat: float
    """0 (lean) to 1 (obese)."""
    female: bool
    lean: float
    """Lateral curvature of the spine, -1 to 1."""
    knob: float
    """Prominence of the aortic knob."""
    rib_slope: float
    bone: float
    """Density of the bones, about 1."""
    depth: float
    """Front to back size of the chest, about 1."""

    def of(self, kind: Kind) -> Finding | None:
        """The finding of this kind, if there is one."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def dome_y(self, side: Literal["left", "right"]) -> float:
        """Height of the dome of the hemidiaphragm; atelectasis raises it."""
        dome = self.dome_right_y if side == "right" else self.dome_left_y
        collapse = self.of("atelectasis")
        return dome - 9 if collapse and collapse.on(side) else dome


def draw_patient(rng: np.random.Generator, findings: Sequence[Finding]) -> Patient:
    """A patient with these findings."""
    dome = rng.uniform(168, 184)
    heart = next((finding for finding in findings if finding.kind == "cardiomegaly"), None)
    low, high = _RATIOS[heart.grade] if heart else _NORMAL_RATIO
    return Patient(
        findings=tuple(findings),
        chest_half=rng.uniform(84, 97),
        apex_y=rng.uniform(33, 43),
        dome_right_y=dome,
        dome_left_y=dome + rng.uniform(1, 8),
        angle_depth=rng.uniform(17, 25),
        heart_ratio=rng.uniform(low, high),
        fat=rng.beta(2.0, 2.8),
        female=bool(rng.random() < 0.5),
        lean=rng.normal(0, 0.35),
        knob=rng.uniform(0.3, 1.0),
        rib_slope=rng.uniform(0.8, 1.2),
        bone=rng.uniform(0.8, 1.2),
        depth=rng.uniform(0.92, 1.1),
    )
