"""A collection of a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec

from retrieval.errors import IndexFailure, IndexForbidden, IndexUnreachable
from retrieval.index.filters import Filters, render_filter
from retrieval.index.interface import FACET_LIMIT, IndexPoint, Stored, to_stored
from retrieval.index.schema import DENSE_VECTORS, CollectionMeta
from retrieval.index.search_plan import run_search, stored_ids, with_vectors
from retrieval.index.search_request import Scored, SearchRequest
from retrieval.index.server import writes
from retrieval.index.server.confirmed import wait_until_shown
from retrieval.index.server.http import ServerClient
from retrieval.index.server.optimizer import CollectionOptimizer
from retrieval.index.server.search import FILTERS, FoundPoint, ServerSearch
from retrieval.index_address import collection_path
from retrieval.progress import StageProgress

T = TypeVar("T")

# Points per request of a scroll; with vectors they are about a hundred times as large.
_PAGE = 1000
_PAGE_WITH_VECTORS = 200


class _Page(msgspec.Struct):
    points: list[FoundPoint]
    next_page_offset: str | int | None


class _Count(msgspec.Struct):
    count: int


class _FacetHit(msgspec.Struct):
    value: str | int | bool
    count: int


class _FacetHits(msgspec.Struct):
    hits: list[_FacetHit]


class ServerCollection:
    """One collection of a server."""

    writers: ClassVar[int] = 3

    def __init__(
        self, name: str, client: ServerClient, meta: CollectionMeta, *, on_record: Callable[[], None] = lambda: None
    ) -> None:
        """Use the collection `name`, which records `meta`; `on_record` is called when that record was replaced."""
        self.name = name
        self.meta = meta
        self._client = client
        self._on_record = on_record
        self._optimizer = CollectionOptimizer(client, name, meta)

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.upsert`."""
        if points:
            writes.upsert_points(self._client, self.name, points)

    def replace_reports(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.replace_reports`."""
        if points:
            writes.replace_reports(self._client, self.name, points)

    def delete(self, point_ids: Sequence[str]) -> None:
        """See `Collection.delete`."""
        if point_ids:
            writes.delete_points(self._client, self.name, point_ids)

    def fetch(self, point_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `Collection.fetch`."""
        return {point_id: stored.payload for point_id, stored in self.retrieve(point_ids).items()}

    def retrieve(self, point_ids: Sequence[str], *, vectors: Sequence[str] = ()) -> dict[str, Stored]:
        """See `Collection.retrieve`."""
        body = {"ids": list(point_ids), "with_payload": True, "with_vector": list(vectors)}
        return {str(record.id): to_stored(record, vectors) for record in self._call("points", body, list[FoundPoint])}

    def search(self, request: SearchRequest) -> list[Scored]:
        """See `Collection.search`. Takes two requests, and more where scores tie at the end of a list."""
        try:
            return run_search(ServerSearch(request, self._call), request)
        except IndexFailure as error:
            # The server refuses the id of a point that lacks the vector.
            ids = stored_ids(request)
            if isinstance(error, IndexUnreachable | IndexForbidden) or not ids:
                raise
            request = with_vectors(request, self.retrieve(ids, vectors=DENSE_VECTORS))
            return run_search(ServerSearch(request, self._call), request)

    def scroll(
        self, filters: Filters = Filters(), *, limit: int | None, vectors: Sequence[str] = ()
    ) -> Iterator[Stored]:
        """See `Collection.scroll`."""
        page, left = _PAGE_WITH_VECTORS if vectors else _PAGE, limit
        body = {
            "filter": render_filter(filters, FILTERS),
            "offset": None,
            "with_payload": True,
            "with_vector": list(vectors),
        }
        while left is None or left > 0:
            body["limit"] = page if left is None else min(page, left)
            found = self._call("points/scroll", body, _Page)
            yield from (to_stored(record, vectors) for record in found.points)
            left = None if left is None else left - len(found.points)
            body["offset"] = found.next_page_offset
            if body["offset"] is None:
                return

    def count(self, filters: Filters = Filters()) -> int:
        """See `Collection.count`."""
        return self._call("points/count", {"filter": render_filter(filters, FILTERS), "exact": True}, _Count).count

    def facet(self, field: str, filters: Filters = Filters()) -> dict[str, int]:
        """See `Collection.facet`. Not `exact`, which takes longer and lists values that no point has."""
        body = {"key": field, "filter": render_filter(filters, FILTERS), "limit": FACET_LIMIT, "exact": False}
        hits = self._call("facet", body, _FacetHits).hits
        return {str(hit.value): hit.count for hit in sorted(hits, key=lambda hit: (-hit.count, str(hit.value)))}

    def record(self, meta: CollectionMeta) -> None:
        """See `Collection.record`."""
        new = msgspec.to_builtins(meta)
        before = self._client.get_collection(self.name).config.metadata
        self._client.update_collection(self.name, metadata=new)
        if meta != self.meta and before != new:
            wait_until_shown(lambda: self._client.get_collection(self.name).config.metadata != before)
        self.meta = meta
        self._on_record()

    def begin_load(self, images: int) -> None:
        """See `Collection.begin_load`."""
        self._optimizer.begin_load(images)

    def optimize(self, progress: StageProgress | None = None) -> None:
        """See `Collection.optimize` and `CollectionOptimizer.run`."""
        self._optimizer.run(self.count(), progress)

    def _call(self, path: str, body: Any, answer: type[T]) -> T:
        result: T = self._client.call("POST", f"{collection_path(self.name)}/{path}", body, answer)
        return result
