"""A collection of the embedded engine: an open Edge shard."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import qdrant_edge as edge

from retrieval.atomic_files import replace_file
from retrieval.disk_space import extent_of, require_space
from retrieval.index.edge.lock import FolderLock
from retrieval.index.edge.search import BM25, FILTERS, EdgeSearch
from retrieval.index.edge.shard import Shard, load_shard, needs_graph
from retrieval.index.filters import Filters, render_filter
from retrieval.index.interface import FACET_LIMIT, IndexPoint, Stored, to_stored
from retrieval.index.schema import DENSE_VECTORS, SPARSE_VECTOR, TEXT_VECTORS, CollectionMeta
from retrieval.index.search_plan import run_search, stored_ids, with_vectors
from retrieval.index.search_request import Scored, SearchRequest
from retrieval.progress import StageProgress

META = "collection.json"
# Points per request of a scroll; with vectors they are about a hundred times as large.
_PAGE = 1000
_PAGE_WITH_VECTORS = 200
_CLOSE_WITHIN_S = 30.0
# Upper bounds for the bytes of a point without its report, and for each letter of the report (payload and terms).
_POINT_BYTES = 32 << 10
_BYTES_PER_LETTER = 8


class EdgeCollection:
    """An open shard. Safe from several threads: calls hold the GIL, so that they run one after the other."""

    writers: ClassVar[int] = 1

    def __init__(self, name: str, folder: Path, shard: Shard, meta: CollectionMeta, lock: FolderLock) -> None:
        self.name = name
        self.meta = meta
        self._folder = folder
        self._shard = shard
        self._lock = lock

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.upsert`. The points are on disk when it returns, as after all calls that write."""
        if points:
            self._require_space(points)
            self._update(edge.UpdateOperation.upsert_points([_to_edge(point) for point in points]))

    def replace_reports(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.replace_reports`."""
        if not points:
            return
        self._require_space(points)
        given = {point.point_id: _vectors_of(point) for point in points}
        operations = [
            edge.UpdateOperation.delete_vectors(
                [point_id for point_id, vectors in given.items() if name not in vectors], [name]
            )
            for name in (*TEXT_VECTORS, SPARSE_VECTOR)
            if any(name not in vectors for vectors in given.values())
        ]
        new = [edge.PointVectors(point_id, vectors) for point_id, vectors in given.items() if vectors]
        if new:
            operations.append(edge.UpdateOperation.update_vectors(new))
        # The payload last: a resumed run compares it to find what is done.
        operations += [
            edge.UpdateOperation.overwrite_payload([point.point_id], msgspec.to_builtins(point.payload))
            for point in points
        ]
        self._update(*operations)

    def delete(self, point_ids: Sequence[str]) -> None:
        """See `Collection.delete`."""
        if point_ids:
            self._require_space(())
            self._update(edge.UpdateOperation.delete_points(list(point_ids)))

    def fetch(self, point_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `Collection.fetch`."""
        found = self._shard.retrieve(list(point_ids), with_payload=True, with_vector=False)
        return {str(record.id): record.payload or {} for record in found}

    def retrieve(self, point_ids: Sequence[str], *, vectors: Sequence[str] = ()) -> dict[str, Stored]:
        """See `Collection.retrieve`."""
        found = self._shard.retrieve(list(point_ids), with_payload=True, with_vector=list(vectors))
        return {str(record.id): to_stored(record, vectors) for record in found}

    def search(self, request: SearchRequest) -> list[Scored]:
        """See `Collection.search`. Within a process several calls are cheaper than one with nested prefetches."""
        if ids := stored_ids(request):
            request = with_vectors(request, self.retrieve(ids, vectors=DENSE_VECTORS))
        return run_search(EdgeSearch(self._shard, request), request)

    def scroll(
        self, filters: Filters = Filters(), *, limit: int | None, vectors: Sequence[str] = ()
    ) -> Iterator[Stored]:
        """See `Collection.scroll`."""
        query_filter, offset, left = render_filter(filters, FILTERS), None, limit
        page = _PAGE_WITH_VECTORS if vectors else _PAGE
        while left is None or left > 0:
            records, offset = self._shard.scroll(
                edge.ScrollRequest(
                    offset=offset,
                    limit=page if left is None else min(page, left),
                    filter=query_filter,
                    with_payload=True,
                    with_vector=list(vectors),
                )
            )
            yield from (to_stored(record, vectors) for record in records)
            left = None if left is None else left - len(records)
            if offset is None:
                return

    def count(self, filters: Filters = Filters()) -> int:
        """See `Collection.count`."""
        return int(self._shard.count(edge.CountRequest(exact=True, filter=render_filter(filters, FILTERS))))

    def facet(self, field: str, filters: Filters = Filters()) -> dict[str, int]:
        """See `Collection.facet`."""
        request = edge.FacetRequest(key=field, limit=FACET_LIMIT, exact=True, filter=render_filter(filters, FILTERS))
        # Values of removed points have a count of 0 until the next `optimize`.
        hits = [(str(hit.value), hit.count) for hit in self._shard.facet(request).hits if hit.count]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

    def record(self, meta: CollectionMeta) -> None:
        """See `Collection.record`."""
        write_json(self._folder / META, msgspec.to_builtins(meta))
        self.meta = meta

    def begin_load(self, images: int) -> None:
        """See `Collection.begin_load`."""

    def optimize(self, progress: StageProgress | None = None) -> None:
        """See `Collection.optimize`. Opens the shard again, so no other call may run at the same time.

        Raises:
            DiskFull: there is no space for a second copy, which replaces the first.
        """
        require_space(self._folder, extent_of(self._folder).allocated, f"optimizing {self.name}")
        graph = needs_graph(self.meta, self.count())
        self._shard.flush()
        self._shard.close()
        self._shard = load_shard(self._folder, self.meta, graph=graph)
        self._shard.optimize()
        self._shard.flush()

    def close(self) -> None:
        """Write everything to disk and release the lock; waits for running searches of other threads."""
        self._shard.flush()
        deadline = time.monotonic() + _CLOSE_WITHIN_S
        while True:
            try:
                self._shard.close()
                break
            except RuntimeError:  # closing needs exclusive access
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._lock.release()

    def _require_space(self, points: Sequence[IndexPoint]) -> None:
        # Writes go into holes of mapped files: if the disk cannot fill one, the process is killed.
        need = extent_of(self._folder).holes + sum(
            _POINT_BYTES + _BYTES_PER_LETTER * len(point.text) for point in points
        )
        require_space(self._folder, need, f"writing {len(points):,} images to {self.name}")

    def _update(self, *operations: edge.UpdateOperation) -> None:
        for operation in operations:
            self._shard.update(operation)
        self._shard.flush()  # the shard has no write-ahead log


def _to_edge(point: IndexPoint) -> edge.Point:
    return edge.Point(point.point_id, _vectors_of(point), msgspec.to_builtins(point.payload))


def _vectors_of(point: IndexPoint) -> dict[str, Any]:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        vectors[SPARSE_VECTOR] = BM25.embed_document(point.text)
    return vectors


def write_json(path: Path, document: Any) -> None:
    """Replace the file `path` by `document`."""
    with replace_file(path, durable=True) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")
