"""The interface of both engines: an `Index` of named collections, and a `Collection` of points."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from retrieval.errors import AliasDamaged
from retrieval.index.filters import Filters
from retrieval.index.schema import CollectionLayout, CollectionMeta, Payload
from retrieval.index.search_request import FloatArray, Scored, SearchRequest
from retrieval.progress import StageProgress

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """An image to be stored: dense vectors by name (float32 [D]), the text that BM25 indexes, the payload."""

    point_id: str
    vectors: dict[str, FloatArray]
    text: str
    payload: Payload


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
    writers: ClassVar[int]
    """Number of `upsert` calls at the same time that load a collection fastest."""

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
        """The hits of `request`, best first; ties break on the id. See `run_search`."""

    def scroll(self, filters: Filters = ..., *, limit: int | None, vectors: Sequence[str] = ()) -> Iterator[Stored]:
        """At most `limit` points, or all for None, in the order of their ids."""

    def count(self, filters: Filters = ...) -> int:
        """Exact number of points that match `filters`."""

    def facet(self, field: str, filters: Filters = ...) -> dict[str, int]:
        """Number of points per value of a keyword field, most frequent first.

        A server that is building its search graph may count points twice that it is moving.
        """

    def record(self, meta: CollectionMeta) -> None:
        """Replace the record of the collection."""

    def begin_load(self, images: int) -> None:
        """About `images` will be written: a server builds no search graphs until `optimize`, as the embedded engine."""

    def optimize(self, progress: StageProgress | None = None) -> None:
        """Build the fastest form of the index and write everything to disk; returns when this is done.

        `progress` receives the stages of a server, with the images that are merged or get graphs.
        """


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


def to_stored(record: Any, vectors: Sequence[str]) -> Stored:
    """A point of either engine, with those of `vectors` that it has."""
    return Stored(point_id=str(record.id), payload=record.payload or {}, vectors=dense_vectors(record, vectors))


def dense_vectors(record: Any, names: Sequence[str]) -> dict[str, FloatArray]:
    """Those of the vectors `names` that a point of either engine has."""
    held = record.vector if isinstance(record.vector, dict) else {}
    return {name: np.asarray(held[name], dtype=np.float32) for name in names if name in held}
