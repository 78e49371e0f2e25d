"""The findings of phantom patients, and their MeSH terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retrieval.labels.laterality import Side

Kind = Literal[
    "cardiomegaly",
    "effusion",
    "pneumothorax",
    "nodule",
    "consolidation",
    "atelectasis",
    "catheter",
    "pacemaker",
    "hernia",
]
LungSide = Literal["left", "right"]

# The heads that the indexers of Open-i use in the Indiana collection.
HEADS: dict[Kind, str] = {
    "cardiomegaly": "Cardiomegaly",
    "effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "nodule": "Nodule",
    "consolidation": "Consolidation",
    "atelectasis": "Pulmonary Atelectasis",
    "catheter": "Catheters, Indwelling",
    "pacemaker": "Implanted Medical Device",
    "hernia": "Hernia, Hiatal",
}
NORMAL = "normal"

LOBES: tuple[tuple[LungSide, str], ...] = (
    ("right", "upper lobe"),
    ("right", "middle lobe"),
    ("right", "lower lobe"),
    ("left", "upper lobe"),
    ("left", "lingula"),
    ("left", "lower lobe"),
)

_NORMAL_SHARE = 0.30
_BORDERLINE_SHARE = 0.05
_PAIR_SHARE = 0.28


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        kind: Its kind.
        side: Its laterality; empty if it has none.
        site: The lobe (nodule, consolidation) or the kind of line (catheter); else empty.
        grade: Severity or size; empty if it has none.
        sure: False if the report calls it possible or borderline.
    """

    kind: Kind
    side: Side | Literal[""] = ""
    site: str = ""
    grade: str = ""
    sure: bool = True

    @property
    def head(self) -> str:
        """The head of its term, as in the column `Problems`."""
        return HEADS[self.kind]

    @property
    def mesh(self) -> str:
        """The term with qualifiers, as in the column `MeSH`: `Pleural Effusion/left/small`."""
        match self.kind:
            case "cardiomegaly" | "hernia":
                parts = [self.grade]
            case "pneumothorax":
                parts = ["apex" if self.grade == "small" else "", self.side, self.grade]
            case "nodule" | "consolidation":
                # Only the left lung has a lingula, so the indexers leave out the side.
                parts = ["lung", self.site, "" if self.site == "lingula" else self.side]
                parts.append("small" if self.kind == "nodule" and self.grade == "small" else "")
            case "atelectasis":
                parts = ["base", self.side]
            case "catheter" | "pacemaker":
                parts = [self.side]
            case "effusion":
                parts = [self.side, self.grade]
        return "/".join([self.head, *(part for part in parts if part)])

    def on(self, side: LungSide) -> bool:
        """Whether the finding is on this side of the body."""
        return self.side in (side, "bilateral")


def choose_findings(rng: np.random.Generator) -> tuple[Finding, ...]:
    """Random findings: none (30 %), borderline heart size only (5 %), one, or two that do not overlap on a film."""
    draw = rng.random()
    if draw < _NORMAL_SHARE:
        return ()
    if draw < _NORMAL_SHARE + _BORDERLINE_SHARE:
        return (Finding("cardiomegaly", grade="borderline", sure=False),)
    kinds: list[Kind] = list(HEADS)
    first, second = rng.choice(len(kinds), size=2, replace=False)
    one = _describe(kinds[first], rng, alone=True)
    if rng.random() >= _PAIR_SHARE:
        return (one,)
    pair = (_describe(kinds[first], rng, alone=False), _describe(kinds[second], rng, alone=False))
    return (one,) if _overlap(pair) else tuple(sorted(pair, key=lambda finding: kinds.index(finding.kind)))


def mesh_of(findings: Sequence[Finding]) -> str:
    """The `MeSH` cell: terms joined by `;`, or `normal`."""
    return ";".join(finding.mesh for finding in findings) or NORMAL


def problems_of(findings: Sequence[Finding]) -> str:
    """The `Problems` cell: heads joined by `;`, or `normal`."""
    return ";".join(finding.head for finding in findings) or NORMAL


def _describe(kind: Kind, rng: np.random.Generator, *, alone: bool) -> Finding:
    side: Side = "left" if rng.random() < 0.5 else "right"
    match kind:
        case "cardiomegaly":
            return Finding(kind, grade=_pick(rng, ("mild", "mild", "moderate", "moderate", "severe")))
        case "effusion":
            if rng.random() < 0.3:
                side = "bilateral"
            # A large effusion beside another finding would hide it.
            return Finding(kind, side, grade=_pick(rng, ("small", "large")) if alone else "small")
        case "pneumothorax":
            return Finding(kind, side, grade=_pick(rng, ("small", "large", "large")))
        case "nodule":
            lobe = LOBES[int(rng.integers(len(LOBES)))]
            sure = bool(rng.random() >= 0.12)
            return Finding(kind, *lobe, grade=_pick(rng, ("", "", "small")) if sure else "small", sure=sure)
        case "consolidation":
            return Finding(kind, *LOBES[int(rng.integers(len(LOBES)))])
        case "atelectasis":
            return Finding(kind, "bilateral" if rng.random() < 0.3 else side)
        case "catheter":
            return Finding(kind, side, site=_pick(rng, ("port", "line")))
        case "pacemaker":
            return Finding(kind, "left" if rng.random() < 0.85 else "right")
        case "hernia":
            return Finding(kind, grade=_pick(rng, ("small", "large", "large")))


def _overlap(pair: tuple[Finding, Finding]) -> bool:
    """Whether two findings overlap on a film: both are devices, or both lie low in the same lung."""
    kinds = {finding.kind for finding in pair}
    if kinds in ({"catheter", "pacemaker"}, {"effusion", "atelectasis"}):
        return True
    low = [f for f in pair if f.kind in ("effusion", "atelectasis") or f.site in ("lower lobe", "lingula")]
    lungs = [f for f in pair if f.kind in ("pneumothorax", "nodule", "consolidation")]
    return len(low) == 2 or (len(lungs) == 2 and lungs[0].side == lungs[1].side)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
