"""Experiments, the searches they answered, and the feedback on these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from retrieval.search.hits import SearchResult

Kind = Literal["split", "interleave", "shadow"]
FeedbackKind = Literal["click", "relevant", "not_relevant"]
Team = Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment. In a split, B answers `share` per cent of the sessions. `result` is None while it runs."""

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
    """An image as a search showed it; `team` is the interleaved model that gets credit for clicks on it, if any."""

    dataset: str
    study_id: str
    image_id: str
    team: Team | None = None


class ShownResult(SearchResult, frozen=True, kw_only=True):
    """A result as the client gets it. Feedback refers to `search_id`, which is None if the exposure was not recorded.

    While an `experiment` runs, a search that names no model is answered by either of its two models, or by both in one
    list; then `model` names both, and a hit's score is one over its rank.
    """

    search_id: str | None = None
    experiment: str | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """One answered search. `session` is an HMAC; `team` is the model that answered, in a split."""

    search_id: str
    session: str
    shown: tuple[ShownHit, ...]
    experiment: str | None = None
    team: Team | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A search of an experiment, and the shown images with positive feedback, as (dataset, image id)."""

    exposure: Exposure
    positive: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Shadow:
    """Comparison with the hidden answer of the second model: share of the `k` hits in common, milliseconds of each model."""

    search_id: str
    k: int
    overlap: float | None = None
    ms_a: float | None = None
    ms_b: float | None = None
    error: str | None = None
