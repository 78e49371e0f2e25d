"""The interface of both engines: an `Index` of named collections, and a `Collection` of points."""

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
    """An image to be stored: dense vectors by name (float32 [D]), the text that BM25 indexes, the payload."""

    point_id: str
    vectors: dict[str, FloatArray]
    text: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class VectorSignal:
    """Similarity of `query` (float32 [D]) to the vector `name`, on a scale that maps `zero` to 0 and `one` to 1.

    With further examples it is the mean cosine to `query` and all of `like`, minus the sum of cosines to `unlike` divided
    by the number of liked vectors.
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


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The `candidates` best of `lists`, reordered by the weighted sum of all signals, best `limit` first.

    Several lists, each of `candidates`, are fused by reciprocal ranks: a point gets 1 / (60 + rank) from each list that
    contains it. Without `lists` the first signal is the only list. Without signals the order of the lists stays. A single
    signal of the default scale and weight 1 is a plain nearest-neighbour search. A candidate without the vector of a
    signal counts as unrelated: it gets the `zero` of that signal.
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


@dataclass(frozen=True, slots=True)
class Stored:
    """A point of the index; `vectors` are the requested ones that it has, float32 [D], unit norm."""

    point_id: str
    payload: dict[str, Any]
    vectors: dict[str, FloatArray] = field(default_factory=dict)


class Collection(Protocol):
    """The points of one model. All calls block and are safe from several threads."""

    name: str
    meta: CollectionMeta

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store points, replacing those of the same id."""

    def replace_reports(self, points: Sequence[IndexPoint]) -> None:
        """Replace payload, text vectors and BM25 terms of stored points; their image vectors stay.

        Also after an interruption, a point with the new payload has all of the new values.
        """

    def delete(self, point_ids: Sequence[str]) -> None:
        """Remove points; unknown ids are ignored."""

    def fetch(self, point_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Payloads by id, of the points that exist."""

    def retrieve(self, point_ids: Sequence[str], *, vectors: Sequence[str] = ()) -> dict[str, Stored]:
        """The existing points among `point_ids`, by id, with those of `vectors` that they have."""

    def search(self, request: SearchRequest) -> list[Scored]:
        """The hits of `request`, best first; ties break on the id. A server gets a single request."""

    def scroll(self, filters: Filters = ..., *, limit: int | None, vectors: Sequence[str] = ()) -> Iterator[Stored]:
        """At most `limit` points, or all for None, in the order of their ids."""

    def count(self, filters: Filters = ...) -> int:
        """Exact number of points that match `filters`."""

    def facet(self, field: str, filters: Filters = ...) -> dict[str, int]:
        """Exact number of points per value of a keyword field, most frequent first."""

    def record(self, meta: CollectionMeta) -> None:
        """Replace the record of the collection."""

    def pause_optimizer(self) -> None:
        """Stop a server from building search graphs until `optimize`; the embedded engine builds them only then."""

    def optimize(self) -> None:
        """Build the fastest form of the index and write everything to disk; returns when this is done."""


class Index(Protocol):
    """The collections of one location."""

    location: str

    def collections(self) -> dict[str, CollectionMeta]:
        """The records of all readable collections of this project, by name. Opens none of them."""

    def damaged(self) -> dict[str, str]:
        """The damage of collections that cannot be read, by name, as far as it shows without opening them."""

    def require_layout(self, layout: CollectionLayout) -> None:
        """Check that this engine supports `layout`; called before a collection is dropped."""

    def create(self, meta: CollectionMeta, *, name: str, layout: CollectionLayout = ...) -> Collection:
        """Make the empty collection `name` with its payload indexes; it records `meta` and `layout`."""

    def open(self, name: str) -> Collection:
        """Open a collection. An embedded one stays the same object; the record of a server's is at most a second old."""

    def drop(self, name: str) -> None:
        """Delete a collection and all its points."""

    def active(self) -> str | None:
        """The active collection. A switch by another process is seen at once, on a server within a second."""

    def activate(self, name: str) -> None:
        """Make a collection the active one, in one step, and remember the previous one."""

    def previous(self) -> str | None:
        """The previously active collection, if it still exists."""

    def disk_bytes(self, name: str) -> int | None:
        """Bytes that a collection takes on disk; None where the engine does not tell."""

    def close(self) -> None:
        """Release files, locks and connections."""


def readable_active(index: Index) -> str | None:
    """The active collection; None if there is none or if the alias cannot be read."""
    try:
        return index.active()
    except AliasDamaged as error:
        _log.warning("%s", error)
        return None


def has_no_active(index: Index) -> bool:
    """Whether certainly no collection is active; False if the alias cannot be read."""
    try:
        return index.active() is None
    except AliasDamaged as error:
        _log.warning("%s", error)
        return False


FACET_LIMIT = 100_000
"""More values than any field has; without a limit the engines return ten."""

RRF_K = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009). The engines' defaults differ."""


def ranked(request: SearchRequest, found: Sequence[Any], raw: Sequence[Sequence[Any]]) -> list[Scored]:
    """An engine's result of `request` as hits, best first; ties break on the id.

    Args:
        request: The request.
        found: The points that were found.
        raw: Points scored by each signal alone, or by each list alone if there are no signals.
    """
    scored_by = request.signals or request.sources
    values = [
        {point.id: point.score / (1 if isinstance(one, Words) else 1 + len(one.like)) for point in points}
        for one, points in zip(scored_by, raw, strict=True)
    ]
    ranks_by_list: list[dict[Any, int]] = []
    if not request.signals and len(request.sources) > 1:
        ranks_by_list = [{point.id: rank for rank, point in enumerate(points, start=1)} for points in raw]
    hits = []
    for point in found:
        key = point.id
        ranks = {one.name: by_id[key] for one, by_id in zip(scored_by, ranks_by_list, strict=False) if key in by_id}
        cosines = {one.name: by_id[key] for one, by_id in zip(scored_by, values, strict=True) if key in by_id}
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
    """A point of either engine, with those of `vectors` that it has."""
    return Stored(point_id=str(record.id), payload=record.payload or {}, vectors=_dense(record, vectors))


def _dense(record: Any, names: Sequence[str]) -> dict[str, FloatArray]:
    held = record.vector if isinstance(record.vector, dict) else {}
    return {name: np.asarray(held[name], dtype=np.float32) for name in names if name in held}
