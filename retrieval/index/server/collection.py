"""A collection of a Qdrant server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from qdrant_client import models

from retrieval.errors import IndexFailure, IndexForbidden, IndexUnreachable
from retrieval.index.filters import Filters, render_filter
from retrieval.index.interface import FACET_LIMIT, IndexPoint, Stored, to_stored
from retrieval.index.schema import DENSE_VECTORS, EXACT_UP_TO_KB, SPARSE_VECTOR, TEXT_VECTORS, CollectionMeta
from retrieval.index.search_plan import run_search, stored_ids, with_vectors
from retrieval.index.search_request import Scored, SearchRequest
from retrieval.index.server.http import ServerClient
from retrieval.index.server.search import BM25, FILTERS, FoundPoint, ServerSearch, sparse_of

T = TypeVar("T")

# Points per request of a scroll; with vectors they are about a hundred times as large.
_PAGE = 1000
_PAGE_WITH_VECTORS = 200
_POLL_S = 0.5


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

    def __init__(
        self, name: str, client: ServerClient, meta: CollectionMeta, *, on_record: Callable[[], None] = lambda: None
    ) -> None:
        """Use the collection `name`, which records `meta`; `on_record` is called when that record was replaced."""
        self.name = name
        self.meta = meta
        self._client = client
        self._on_record = on_record

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.upsert`."""
        if points:
            self._client.upsert(self.name, [_to_server(point) for point in points], wait=True)

    def replace_reports(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.replace_reports`."""
        if not points:
            return
        given = {point.point_id: _vectors_of(point) for point in points}
        operations: list[Any] = [
            models.DeleteVectorsOperation(
                delete_vectors=models.DeleteVectors(
                    points=[point_id for point_id, vectors in given.items() if name not in vectors], vector=[name]
                )
            )
            for name in (*TEXT_VECTORS, SPARSE_VECTOR)
            if any(name not in vectors for vectors in given.values())
        ]
        new = [models.PointVectors(id=point_id, vector=vectors) for point_id, vectors in given.items() if vectors]
        if new:
            operations.append(models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=new)))
        # The payload last: a resumed run compares it to find what is done.
        operations += [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=msgspec.to_builtins(point.payload), points=[point.point_id])
            )
            for point in points
        ]
        self._client.batch_update_points(self.name, operations, wait=True)

    def delete(self, point_ids: Sequence[str]) -> None:
        """See `Collection.delete`."""
        if point_ids:
            self._client.delete(self.name, list(point_ids), wait=True)

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
        """See `Collection.facet`. Not `exact`, which takes thirty times as long and lists values that no point has."""
        body = {"key": field, "filter": render_filter(filters, FILTERS), "limit": FACET_LIMIT, "exact": False}
        hits = self._call("facet", body, _FacetHits).hits
        return {str(hit.value): hit.count for hit in sorted(hits, key=lambda hit: (-hit.count, str(hit.value)))}

    def record(self, meta: CollectionMeta) -> None:
        """See `Collection.record`."""
        self._client.update_collection(self.name, metadata=msgspec.to_builtins(meta))
        self.meta = meta
        self._on_record()

    def pause_optimizer(self) -> None:
        """See `Collection.pause_optimizer`."""
        self._set_indexing_threshold(0)

    def optimize(self) -> None:
        """See `Collection.optimize`. Resumes the server's own optimizer if it was paused, and waits for it.

        Raises:
            IndexFailure: the server's optimizer has failed.
        """
        if self._client.get_collection(self.name).config.optimizer_config.indexing_threshold == 0:
            self._set_indexing_threshold(EXACT_UP_TO_KB)
            time.sleep(_POLL_S)  # the status turns yellow only when the optimizer wakes up
        while (status := self._client.get_collection(self.name).status) == models.CollectionStatus.YELLOW:
            time.sleep(_POLL_S)
        if status == models.CollectionStatus.RED:
            raise IndexFailure(f"the server cannot optimize the collection {self.name}; see the log of the server")

    def _call(self, path: str, body: Any, answer: type[T]) -> T:
        result: T = self._client.call("POST", f"/collections/{quote(self.name, safe='')}/{path}", body, answer)
        return result

    def _set_indexing_threshold(self, kilobytes: int) -> None:
        self._client.update_collection(
            self.name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        )


def _to_server(point: IndexPoint) -> models.PointStruct:
    return models.PointStruct(id=point.point_id, vector=_vectors_of(point), payload=msgspec.to_builtins(point.payload))


def _vectors_of(point: IndexPoint) -> dict[str, Any]:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        vectors[SPARSE_VECTOR] = models.SparseVector(**sparse_of(BM25.embed_document(point.text)))
    return vectors
