"""One collection of the embedded engine: an open Edge shard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import qdrant_edge as edge

from retrieval.drafts import replacing
from retrieval.index.edge_lock import FolderLock
from retrieval.index.filters import Filters, render_filter
from retrieval.index.interface import IndexPoint, Scored, SearchRequest, Stored, ranked, to_stored
from retrieval.index.schema import SPARSE_VECTOR, TEXT_VECTORS, CollectionMeta

META = "collection.json"
# Points a scroll asks for at once; with vectors they are some hundred times as large.
_PAGE = 1000
_PAGE_WITH_VECTORS = 200
_BM25 = edge.Bm25()


class EdgeCollection:
    """One open shard. The engine's calls release the GIL and may come from several threads."""

    def __init__(self, name: str, folder: Path, shard: edge.EdgeShard, meta: CollectionMeta, lock: FolderLock) -> None:
        self.name = name
        self.meta = meta
        self._folder = folder
        self._shard = shard
        self._lock = lock

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.upsert`. On disk when it returns, as after all calls that write."""
        if points:
            self._update(edge.UpdateOperation.upsert_points([_to_edge(point) for point in points]))

    def replace_reports(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.replace_reports`."""
        if not points:
            return
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
        # The payload last: by it a run that resumes tells what is done.
        operations += [
            edge.UpdateOperation.overwrite_payload([point.point_id], msgspec.to_builtins(point.payload))
            for point in points
        ]
        self._update(*operations)

    def delete(self, point_ids: Sequence[str]) -> None:
        """See `Collection.delete`."""
        if point_ids:
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
        """See `Collection.search`."""
        narrow = render_filter(request.filters, edge)
        names = [signal.name for signal in request.signals]
        nearest = [edge.Query.Nearest(signal.query.tolist(), using=signal.name) for signal in request.signals]
        if request.is_plain:
            plain = edge.QueryRequest(query=nearest[0], filter=narrow, limit=request.limit, with_payload=True)
            found = self._shard.query(plain)
            return ranked(found, [{str(point.id): point.score for point in found}], names)
        depth = max(request.candidates, request.limit)
        pool = edge.Prefetch(query=nearest[0], filter=narrow, limit=depth)
        rescored = [edge.Prefetch(prefetches=[pool], query=query, limit=depth) for query in nearest[1:]]
        summed = edge.QueryRequest(
            prefetches=[pool, *rescored], query=_formula(request), limit=request.limit, with_payload=True
        )
        # The same prefetches again, as queries: their scores are the raw values behind each hit's parts.
        raw = [edge.QueryRequest(query=nearest[0], filter=narrow, limit=depth)]
        raw += [edge.QueryRequest(prefetches=[pool], query=query, limit=depth) for query in nearest[1:]]
        found, *cosines = self._shard.query_batch(edge.QueryBatchRequest([summed, *raw]))
        by_id = [{str(point.id): point.score for point in points} for points in cosines]
        return ranked(found, by_id, names)

    def scroll(
        self, filters: Filters = Filters(), *, limit: int | None, vectors: Sequence[str] = ()
    ) -> Iterator[Stored]:
        """See `Collection.scroll`."""
        narrow, offset, left = render_filter(filters, edge), None, limit
        page = _PAGE_WITH_VECTORS if vectors else _PAGE
        while left is None or left > 0:
            records, offset = self._shard.scroll(
                edge.ScrollRequest(
                    offset=offset,
                    limit=page if left is None else min(page, left),
                    filter=narrow,
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
        return self._shard.count(edge.CountRequest(exact=True, filter=render_filter(filters, edge)))

    def facet(self, field: str, filters: Filters = Filters(), *, limit: int = 500) -> dict[str, int]:
        """See `Collection.facet`."""
        request = edge.FacetRequest(key=field, limit=limit, exact=True, filter=render_filter(filters, edge))
        hits = [(str(hit.value), hit.count) for hit in self._shard.facet(request).hits]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

    def record(self, meta: CollectionMeta) -> None:
        """See `Collection.record`."""
        write_json(self._folder / META, msgspec.to_builtins(meta))
        self.meta = meta

    def pause_optimizer(self) -> None:
        """See `Collection.pause_optimizer`."""

    def optimize(self) -> None:
        """See `Collection.optimize`."""
        self._shard.optimize()
        self._shard.flush()

    def close(self) -> None:
        """Write everything out and release the lock."""
        self._shard.flush()
        self._shard.close()
        self._lock.release()

    def _update(self, *operations: edge.UpdateOperation) -> None:
        for operation in operations:
            self._shard.update(operation)
        self._shard.flush()  # the shard keeps no log


def _to_edge(point: IndexPoint) -> edge.Point:
    return edge.Point(point.point_id, _vectors_of(point), msgspec.to_builtins(point.payload))


def _vectors_of(point: IndexPoint) -> dict[str, Any]:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        vectors[SPARSE_VECTOR] = _BM25.embed_document(point.text)
    return vectors


def _formula(request: SearchRequest) -> edge.Formula:
    """Sum of weight * (cosine - zero) / (one - zero) over the vectors, and weight * share of values over the overlaps."""
    term = edge.Expression
    terms = []
    for number, signal in enumerate(request.signals):
        slope = signal.weight / (signal.one - signal.zero)
        cosine = term.Sum([term.Variable(f"$score[{number}]"), term.Constant(-signal.zero)])
        terms.append(term.Mult([term.Constant(slope), cosine]))
    for overlap in request.overlaps:
        for value in overlap.values:
            has = term.Condition(edge.FieldCondition(key=overlap.name, match=edge.MatchValue(value=value)))
            terms.append(term.Mult([term.Constant(overlap.weight / len(overlap.values)), has]))
    unrelated = {f"$score[{number}]": signal.zero for number, signal in enumerate(request.signals)}
    return edge.Formula(term.Sum(terms), defaults=unrelated)


def write_json(path: Path, document: Any) -> None:
    """Replace `path` in one step, so that a reader sees the old or the new content and never half of it."""
    with replacing(path) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())  # or a power failure could leave the new name with no content
