"""Experiments, what their searches showed, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["split", "interleave", "shadow"]
FeedbackKind = Literal["click", "relevant", "not_relevant"]
Team = Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment. `share` is the per cent of sessions that B answers (split); `result` is what it ended with."""

    name: str
    kind: Kind
    model_a: str
    model_b: str
    share: float
    salt: bytes
    started_at: float
    stopped_at: float | None = None
    result: dict[str, Any] | None = None

    def model_of(self, team: Team) -> str:
        """The model that plays for `team`."""
        return self.model_a if team == "a" else self.model_b


@dataclass(frozen=True, slots=True)
class ShownHit:
    """An image as a search showed it; `team` is the side of an interleaving that it is credited to, if any."""

    dataset: str
    study_id: str
    image_id: str
    team: Team | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """One answered search; `session` is an HMAC, `team` the model of a split that answered."""

    search_id: str
    session: str
    shown: tuple[ShownHit, ...]
    experiment: str | None = None
    team: Team | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A search of an experiment, and which of the images it showed were clicked or rated well, as (dataset, image)."""

    exposure: Exposure
    positive: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Shadow:
    """What the second model would have shown: the share of the `k` hits in common, and both models' milliseconds."""

    search_id: str
    k: int
    overlap: float | None = None
    ms_a: float | None = None
    ms_b: float | None = None
    error: str | None = None
