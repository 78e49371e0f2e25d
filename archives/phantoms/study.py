"""One phantom study, drawn from a seed and a number: patient, findings, two films and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from archives.phantoms import frontal_findings, lateral_findings
from archives.phantoms.canvas import Canvas
from archives.phantoms.film import choose_exposure, expose
from archives.phantoms.findings import Finding, choose_findings, mesh_of, problems_of
from archives.phantoms.frontal import FrontalChest
from archives.phantoms.lateral import LateralChest
from archives.phantoms.patient import Patient, draw_patient
from archives.phantoms.reports import write_report
from retrieval.records import Report

_LATERAL_SHARE = 0.90


@dataclass(frozen=True, slots=True)
class PhantomStudy:
    """A study with the content of the Indiana tables; images are uint8 [256, 256], dense tissue bright."""

    uid: str
    findings: tuple[Finding, ...]
    frontal: NDArray[np.uint8]
    lateral: NDArray[np.uint8] | None
    report: Report

    @property
    def mesh(self) -> str:
        """The `MeSH` cell."""
        return mesh_of(self.findings)

    @property
    def problems(self) -> str:
        """The `Problems` cell."""
        return problems_of(self.findings)

    @property
    def technique(self) -> str:
        """The `image` cell."""
        return "Xray Chest PA" if self.lateral is None else "Xray Chest PA and Lateral"


def draw_study(seed: int, number: int, *, findings: tuple[Finding, ...] | None = None) -> PhantomStudy:
    """Study `number` of the archive `seed`; each call gives the same study.

    `findings` replaces the findings of the seed; patient, exposure and noise stay the same.
    """
    rng = np.random.default_rng([seed, number])
    # Separate random streams, so that other findings do not change patient and film.
    chooser, body, front, side, writer = rng.spawn(5)
    chosen = choose_findings(chooser) if findings is None else findings
    patient = draw_patient(body, chosen)
    has_lateral = bool(writer.random() < _LATERAL_SHARE)
    return PhantomStudy(
        uid=f"P{seed}-{number:04d}",
        findings=chosen,
        frontal=_film("frontal", patient, front),
        lateral=_film("lateral", patient, side) if has_lateral else None,
        report=write_report(chosen, writer),
    )


def _film(view: Literal["frontal", "lateral"], patient: Patient, rng: np.random.Generator) -> NDArray[np.uint8]:
    exposure = choose_exposure(rng)
    canvas = Canvas(
        origin_x=0 if view == "frontal" else 128,
        scale=rng.uniform(0.94, 1.06),
        turn_deg=rng.normal(0, 1.6),
        shift=(rng.normal(0, 4), rng.normal(0, 4)),
    )
    chest: FrontalChest | LateralChest
    if view == "frontal":
        chest = FrontalChest(canvas, patient, rng)
        frontal_findings.show_findings(chest)
    else:
        chest = LateralChest(canvas, patient, rng)
        lateral_findings.show_findings(chest)
    return expose(chest.attenuation, exposure, rng)
