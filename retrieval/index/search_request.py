"""The request that a search sends to the index, and the hits that it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from retrieval.index.filters import Filters

FloatArray = NDArray[np.float32]
Vector = FloatArray | str
"""A vector, float32 [D]; or the id of the stored point that has it, which is never a hit itself."""

RRF_K = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009). The engines' defaults differ."""


@dataclass(frozen=True, slots=True)
class VectorSignal:
    """Similarity of `query` to the vector `name`, on a scale that maps `zero` to 0 and `one` to 1.

    With further examples it is the mean cosine to `query` and all of `like`, minus the sum of cosines to `unlike` divided
    by the number of liked vectors.
    """

    name: str
    query: Vector
    weight: float
    zero: float = 0.0
    one: float = 1.0
    like: tuple[Vector, ...] = ()
    unlike: tuple[Vector, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether it is the cosine to a single vector."""
        return not self.like and not self.unlike


@dataclass(frozen=True, slots=True)
class Words:
    """Words to be searched in the reports by BM25."""

    text: str
    name: ClassVar[str] = "bm25"


@dataclass(frozen=True, slots=True)
class OverlapSignal:
    """Share of `values` in the payload field `name` of a hit, 0..1."""

    name: str
    values: tuple[str, ...]
    weight: float

    def share_in(self, payload: dict[str, Any]) -> float:
        """The share of the values that `payload` has, 0..1."""
        held = set(payload[self.name])
        return sum(value in held for value in self.values) / len(self.values)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The `candidates` best of `lists`, reordered by the weighted sum of all signals, best `limit` first.

    Several lists, each of `candidates`, are fused by reciprocal ranks: a point gets 1 / (60 + rank) from each list that
    contains it. Without `lists` the first signal is the only list. Without signals the order of the lists stays. A single
    signal of the default scale and weight 1 is a plain nearest-neighbour search. A candidate without the vector of a
    signal counts as unrelated: it gets the `zero` of that signal. Where scores tie at the end of a list or of the hits,
    the points of the smallest ids are taken.
    """

    signals: tuple[VectorSignal, ...] = ()
    overlaps: tuple[OverlapSignal, ...] = ()
    filters: Filters = Filters()
    limit: int = 10
    candidates: int = 100
    lists: tuple[VectorSignal | Words, ...] = ()
    exclude: tuple[str, ...] = ()
    """Ids of points that are never hits."""
    vectors: tuple[str, ...] = ()
    """Vectors to be returned with the hits."""

    @property
    def sources(self) -> tuple[VectorSignal | Words, ...]:
        """The lists that give the candidates."""
        return self.lists or self.signals[:1]

    @property
    def is_plain(self) -> bool:
        """Whether a single list gives the order, and its raw value the score."""
        if len(self.sources) != 1 or self.overlaps or len(self.signals) > 1:
            return False
        return all(one is self.sources[0] and (one.weight, one.zero, one.one) == (1, 0, 1) for one in self.signals)

    @property
    def depth(self) -> int:
        """Length of each list and number of candidates."""
        return max(self.candidates, self.limit)


@dataclass(frozen=True, slots=True)
class Scored:
    """A point that was found: its score, and the raw value of each signal, or of each fused list.

    `cosines` are cosines by vector, for the vectors that the point has, and the engine's score for BM25. `ranks` are the
    ranks, from 1, on the fused lists that contain it. `vectors` are those of the request that the point has.
    """

    point_id: str
    score: float
    payload: dict[str, Any]
    cosines: dict[str, float] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, FloatArray] = field(default_factory=dict)


def parts_of(request: SearchRequest, hit: Scored) -> dict[str, float]:
    """Part of each signal, or of each list, in the score of a hit; the parts add up to it. A missing vector gives 0."""
    if hit.ranks:
        return {name: 1 / (RRF_K + rank) for name, rank in hit.ranks.items()}
    if request.is_plain:
        return dict(hit.cosines)
    found = {}
    for signal in request.signals:
        cosine = hit.cosines.get(signal.name, signal.zero)
        found[signal.name] = signal.weight * (cosine - signal.zero) / (signal.one - signal.zero)
    for overlap in request.overlaps:
        found[overlap.name] = overlap.weight * overlap.share_in(hit.payload)
    return found
