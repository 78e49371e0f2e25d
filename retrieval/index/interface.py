"""The one interface that both engines answer: an `Index` of named collections, and a `Collection` of points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.index.filters import Filters
from retrieval.index.schema import CollectionLayout, CollectionMeta, Payload

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """One image to be stored: dense vectors by name (float32 [D]), the text that BM25 indexes, the payload."""

    point_id: str
    vectors: dict[str, FloatArray]
    text: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class VectorSignal:
    """Similarity of `query` (float32 [D]) to the vector `name`, on a scale where `zero` becomes 0 and `one` 1."""

    name: str
    query: FloatArray
    weight: float
    zero: float = 0.0
    one: float = 1.0


@dataclass(frozen=True, slots=True)
class OverlapSignal:
    """Share of `values` that a hit has in its payload field `name`, 0..1."""

    name: str
    values: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The `candidates` points nearest to `signals[0]`, reordered by the weighted sum of all signals, best `limit` first.

    With one signal of the default scale and weight 1 this is a plain nearest-neighbour search. A candidate that lacks a
    signal's vector counts as unrelated: it gets that signal's `zero`.
    """

    signals: tuple[VectorSignal, ...]
    overlaps: tuple[OverlapSignal, ...] = ()
    filters: Filters = Filters()
    limit: int = 10
    candidates: int = 100

    @property
    def is_plain(self) -> bool:
        """Whether no reordering is asked for."""
        return len(self.signals) == 1 and not self.overlaps


@dataclass(frozen=True, slots=True)
class Scored:
    """A point found: `score` as the engine summed it, and the cosine by vector for each signal it has a vector for."""

    point_id: str
    score: float
    payload: dict[str, Any]
    cosines: dict[str, float] = field(default_factory=dict)


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
        """Answer `request` in one request to the engine; ties break on the id."""

    def scroll(self, filters: Filters = ..., *, limit: int | None, vectors: Sequence[str] = ()) -> Iterator[Stored]:
        """At most `limit` points, or all for None, in the order of their ids."""

    def count(self, filters: Filters = ...) -> int:
        """Exact number of points that obey `filters`."""

    def facet(self, field: str, filters: Filters = ..., *, limit: int = ...) -> dict[str, int]:
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
        """All collections of this project, with what they record, by name. Opens none of them."""

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

    def close(self) -> None:
        """Release files, locks and connections."""


def ranked(found: Sequence[Any], cosines: Sequence[dict[str, float]], names: Sequence[str]) -> list[Scored]:
    """The engine's scored points with their cosines by vector name, best first; ties break on the id."""
    scored = [
        Scored(
            point_id=str(point.id),
            score=point.score,
            payload=point.payload or {},
            cosines={
                name: by_id[str(point.id)] for name, by_id in zip(names, cosines, strict=True) if str(point.id) in by_id
            },
        )
        for point in found
    ]
    return sorted(scored, key=lambda hit: (-hit.score, hit.point_id))


def to_stored(record: Any, vectors: Sequence[str]) -> Stored:
    """A record of either engine, with those of `vectors` that it has."""
    dense = record.vector if isinstance(record.vector, dict) else {}
    arrays = {name: np.asarray(dense[name], dtype=np.float32) for name in vectors if name in dense}
    return Stored(point_id=str(record.id), payload=record.payload or {}, vectors=arrays)
