"""The one interface that both engines answer: an `Index` of named collections, and a `Collection` of points."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import AliasDamaged
from retrieval.index.filters import Filters
from retrieval.index.schema import CollectionLayout, CollectionMeta, Payload

FloatArray = NDArray[np.float32]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """One image to be stored: dense vectors by name (float32 [D]), the text that BM25 indexes, the payload."""

    point_id: str
    vectors: dict[str, FloatArray]
    text: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class VectorSignal:
    """Similarity of `query` (float32 [D]) to the vector `name`, on a scale where `zero` becomes 0 and `one` 1.

    With further examples it is the mean cosine to `query` and all of `like`, less the sum of cosines to `unlike` over
    the number of those liked.
    """

    name: str
    query: FloatArray
    weight: float
    zero: float = 0.0
    one: float = 1.0
    like: tuple[FloatArray, ...] = ()
    unlike: tuple[FloatArray, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether this is the plain cosine to one vector."""
        return not self.like and not self.unlike


@dataclass(frozen=True, slots=True)
class Words:
    """Words to be looked up in the reports by BM25."""

    text: str
    name: ClassVar[str] = "bm25"


@dataclass(frozen=True, slots=True)
class OverlapSignal:
    """Share of `values` that a hit has in its payload field `name`, 0..1."""

    name: str
    values: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The `candidates` best of `lists`, reordered by the weighted sum of all signals, best `limit` first.

    Several lists, each of `candidates`, are fused by reciprocal ranks: a point gets 1 / (60 + rank) from each list it is
    on. Without `lists` the first signal is the only one. Without signals the order of the lists stays. With one
    signal of the default scale and weight 1 this is a plain nearest-neighbour search. A candidate that lacks a signal's
    vector counts as unrelated: it gets that signal's `zero`.
    """

    signals: tuple[VectorSignal, ...] = ()
    overlaps: tuple[OverlapSignal, ...] = ()
    filters: Filters = Filters()
    limit: int = 10
    candidates: int = 100
    lists: tuple[VectorSignal | Words, ...] = ()
    exclude: tuple[str, ...] = ()
    """Ids of points that no hit may be."""
    vectors: tuple[str, ...] = ()
    """Vectors that the hits bring along."""

    @property
    def sources(self) -> tuple[VectorSignal | Words, ...]:
        """The lists that candidates come from."""
        return self.lists or self.signals[:1]

    @property
    def is_plain(self) -> bool:
        """Whether one list alone gives the order, and its raw value the score."""
        if len(self.sources) != 1 or self.overlaps or len(self.signals) > 1:
            return False
        return all(one is self.sources[0] and (one.weight, one.zero, one.one) == (1, 0, 1) for one in self.signals)

    @property
    def depth(self) -> int:
        """Length of each list, and number of candidates."""
        return max(self.candidates, self.limit)


@dataclass(frozen=True, slots=True)
class Scored:
    """A point found: its score, and the raw value of each signal, or of each list where lists were fused.

    `cosines` holds cosines by vector for the signals it has a vector for; of BM25 the engine's score. `ranks` holds the
    rank, from 1, on each of several lists that it is on. `vectors` holds those asked for and present.
    """

    point_id: str
    score: float
    payload: dict[str, Any]
    cosines: dict[str, float] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A point as it lies in the index; `vectors` holds those asked for and present, float32 [D] of unit norm."""

    point_id: str
    payload: dict[str, Any]
    vectors: dict[str, FloatArray] = field(default_factory=dict)


class Collection(Protocol):
    """The points of one model. All calls block; all are safe from several threads."""

    name: str
    meta: CollectionMeta

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store points, replacing those of the same id."""

    def replace_reports(self, points: Sequence[IndexPoint]) -> None:
        """Replace payload, text vectors and BM25 terms of stored points, and leave their image vectors as they are.

        Whatever moment it is cut off at, a point whose payload is the new one is new as a whole.
        """

    def delete(self, point_ids: Sequence[str]) -> None:
        """Remove points; ids that are not there do not matter."""

    def fetch(self, point_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Payloads of the points that exist, by id."""

    def retrieve(self, point_ids: Sequence[str], *, vectors: Sequence[str] = ()) -> dict[str, Stored]:
        """The points that exist among `point_ids`, by id, with those of `vectors` that they have."""

    def search(self, request: SearchRequest) -> list[Scored]:
        """Answer `request`, a server in one request to it; ties break on the id."""

    def scroll(self, filters: Filters = ..., *, limit: int | None, vectors: Sequence[str] = ()) -> Iterator[Stored]:
        """At most `limit` points, or all for None, in the order of their ids."""

    def count(self, filters: Filters = ...) -> int:
        """Exact number of points that obey `filters`."""

    def facet(self, field: str, filters: Filters = ...) -> dict[str, int]:
        """Exact number of points per value of a keyword field, most frequent first."""

    def record(self, meta: CollectionMeta) -> None:
        """Replace what the collection records of itself."""

    def pause_optimizer(self) -> None:
        """Let a server build no search graph until `optimize`; the embedded engine never builds one by itself."""

    def optimize(self) -> None:
        """Bring the index into the form that searches fastest, and all writes to disk; returns when that is done."""


class Index(Protocol):
    """The collections of one location."""

    location: str

    def collections(self) -> dict[str, CollectionMeta]:
        """All collections of this project that can be read, with what they record, by name. Opens none of them."""

    def damaged(self) -> dict[str, str]:
        """What is wrong with the collections that cannot be read, by name, as far as that shows without opening them."""

    def require_layout(self, layout: CollectionLayout) -> None:
        """Refuse a layout that this engine has not; for asking before anything is dropped."""

    def create(self, meta: CollectionMeta, *, name: str, layout: CollectionLayout = ...) -> Collection:
        """Make the empty collection of `meta.model`, with its payload indexes; it records its layout."""

    def open(self, name: str) -> Collection:
        """Open a collection; the same object for the same name while it is open."""

    def drop(self, name: str) -> None:
        """Delete a collection and all its points."""

    def active(self) -> str | None:
        """The collection that the alias names, read anew at each call."""

    def activate(self, name: str) -> None:
        """Point the alias at a collection, in one step, and remember the one it named before."""

    def previous(self) -> str | None:
        """The collection that the alias named before the present one, if that still exists."""

    def disk_bytes(self, name: str) -> int | None:
        """Bytes that a collection takes on disk; None where the engine does not tell."""

    def close(self) -> None:
        """Release files, locks and connections."""


def readable_active(index: Index) -> str | None:
    """The active collection, or None where that cannot be read, for whoever can go on without."""
    try:
        return index.active()
    except AliasDamaged as error:
        _log.warning("%s", error)
        return None


def has_no_active(index: Index) -> bool:
    """Whether no collection is active, for certain: where it cannot be read, one may be."""
    try:
        return index.active() is None
    except AliasDamaged as error:
        _log.warning("%s", error)
        return False


FACET_LIMIT = 100_000
"""More values than a field has: without a limit of its own the engine would give ten."""

RRF_K = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009). Always given: engines differ in theirs."""


def ranked(request: SearchRequest, found: Sequence[Any], raw: Sequence[Sequence[Any]]) -> list[Scored]:
    """The engine's answer to `request` as hits, best first; ties break on the id.

    Args:
        request: What was asked.
        found: The points that are the answer.
        raw: Points scored by each signal alone; where there are none, by each list alone.
    """
    asked = request.signals or request.sources
    values = [
        {point.id: point.score / (1 if isinstance(one, Words) else 1 + len(one.like)) for point in points}
        for one, points in zip(asked, raw, strict=True)
    ]
    places: list[dict[Any, int]] = []
    if not request.signals and len(request.sources) > 1:
        places = [{point.id: rank for rank, point in enumerate(points, start=1)} for points in raw]
    hits = []
    for point in found:
        key = point.id
        ranks = {one.name: by_id[key] for one, by_id in zip(asked, places, strict=False) if key in by_id}
        cosines = {one.name: by_id[key] for one, by_id in zip(asked, values, strict=True) if key in by_id}
        hits.append(
            Scored(
                point_id=str(key),
                score=_score(request, point.score, cosines, ranks),
                payload=point.payload or {},
                cosines=cosines,
                ranks=ranks,
                vectors=_dense(point, request.vectors),
            )
        )
    return sorted(hits, key=lambda hit: (-hit.score, hit.point_id))


def _score(request: SearchRequest, score: float, cosines: dict[str, float], ranks: dict[str, int]) -> float:
    if ranks:
        return sum(1 / (RRF_K + rank) for rank in ranks.values())
    if request.is_plain:
        return cosines[request.sources[0].name]
    return score


def to_stored(record: Any, vectors: Sequence[str]) -> Stored:
    """A record of either engine, with those of `vectors` that it has."""
    return Stored(point_id=str(record.id), payload=record.payload or {}, vectors=_dense(record, vectors))


def _dense(record: Any, names: Sequence[str]) -> dict[str, FloatArray]:
    held = record.vector if isinstance(record.vector, dict) else {}
    return {name: np.asarray(held[name], dtype=np.float32) for name in names if name in held}
