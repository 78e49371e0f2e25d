"""A collection of a Qdrant server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from retrieval.errors import IndexFailure
from retrieval.index.filters import FilterClasses, Filters, render_filter
from retrieval.index.interface import (
    FACET_LIMIT,
    RRF_K,
    IndexPoint,
    Scored,
    SearchRequest,
    Stored,
    VectorSignal,
    Words,
    ranked,
    to_stored,
)
from retrieval.index.schema import EXACT_UP_TO_KB, SPARSE_VECTOR, TEXT_VECTORS, CollectionMeta, oversampling

# Points per request of a scroll; with vectors they are about a hundred times as large.
_PAGE = 1000
_PAGE_WITH_VECTORS = 200
# Both engines take the tokens of Edge's BM25, so that they index the same terms.
_BM25 = edge.Bm25()
_FILTERS = FilterClasses(
    models,
    date_range=models.DatetimeRange,
    has_id=lambda point_ids: models.HasIdCondition(has_id=list(point_ids)),
)
_FULL_PRECISION = models.SearchParams(quantization=models.QuantizationSearchParams(ignore=True))
_POLL_S = 0.5


class ServerCollection:
    """One collection of a server."""

    def __init__(
        self, name: str, client: QdrantClient, meta: CollectionMeta, *, on_record: Callable[[], None] = lambda: None
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
        found = self._client.retrieve(self.name, list(point_ids), with_payload=True)
        return {str(record.id): record.payload or {} for record in found}

    def retrieve(self, point_ids: Sequence[str], *, vectors: Sequence[str] = ()) -> dict[str, Stored]:
        """See `Collection.retrieve`."""
        found = self._client.retrieve(self.name, list(point_ids), with_payload=True, with_vectors=list(vectors))
        return {str(record.id): to_stored(record, vectors) for record in found}

    def search(self, request: SearchRequest) -> list[Scored]:
        """See `Collection.search`."""
        query_filter = render_filter(request.filters, _FILTERS, request.exclude)
        lists = [_query_of(source) for source in request.sources]
        if request.is_plain:
            found = self._query(
                _query_request(request, filter=query_filter, params=_rescored(request.limit), **lists[0])
            )[0]
            return ranked(request, found, [found])
        nearest: dict[str, Any] = {"filter": query_filter, "params": _rescored(request.depth), "limit": request.depth}
        prefetches = [models.Prefetch(**nearest, **query) for query in lists]
        fusion = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
        if not request.signals:
            fused = _query_request(request, prefetch=prefetches, query=fusion)
            found, *raw = self._query(fused, *(models.QueryRequest(**nearest, **query) for query in lists))
            return ranked(request, found, raw)
        pool = prefetches[0]
        if len(lists) > 1:
            pool = models.Prefetch(prefetch=prefetches, query=fusion, limit=request.depth)
        queries = [_query_of(signal) for signal in request.signals]
        among: dict[str, Any] = {"prefetch": [pool], "params": _FULL_PRECISION, "limit": request.depth}
        scored = [models.Prefetch(**among, **query) for query in queries]
        # A prefetch holds only points that have its vector; the pool itself adds those that lack all of them.
        summed = _query_request(request, prefetch=[*scored, pool], query=_formula(request))
        # The same prefetches again, as queries: their scores are the raw values of each hit's parts.
        found, *raw = self._query(summed, *(models.QueryRequest(**among, **query) for query in queries))
        return ranked(request, found, raw)

    def _query(self, *requests: models.QueryRequest) -> list[list[models.ScoredPoint]]:
        return [answer.points for answer in self._client.query_batch_points(self.name, list(requests))]

    def scroll(
        self, filters: Filters = Filters(), *, limit: int | None, vectors: Sequence[str] = ()
    ) -> Iterator[Stored]:
        """See `Collection.scroll`."""
        query_filter, offset, left = render_filter(filters, _FILTERS), None, limit
        page = _PAGE_WITH_VECTORS if vectors else _PAGE
        while left is None or left > 0:
            records, offset = self._client.scroll(
                self.name,
                scroll_filter=query_filter,
                offset=offset,
                limit=page if left is None else min(page, left),
                with_payload=True,
                with_vectors=list(vectors),
            )
            yield from (to_stored(record, vectors) for record in records)
            left = None if left is None else left - len(records)
            if offset is None:
                return

    def count(self, filters: Filters = Filters()) -> int:
        """See `Collection.count`."""
        return self._client.count(self.name, count_filter=render_filter(filters, _FILTERS), exact=True).count

    def facet(self, field: str, filters: Filters = Filters()) -> dict[str, int]:
        """See `Collection.facet`."""
        answer = self._client.facet(
            self.name, key=field, facet_filter=render_filter(filters, _FILTERS), limit=FACET_LIMIT, exact=True
        )
        hits = [(str(hit.value), hit.count) for hit in answer.hits]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

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

    def _set_indexing_threshold(self, kilobytes: int) -> None:
        self._client.update_collection(
            self.name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        )


def _to_server(point: IndexPoint) -> models.PointStruct:
    return models.PointStruct(id=point.point_id, vector=_vectors_of(point), payload=msgspec.to_builtins(point.payload))


def _vectors_of(point: IndexPoint) -> dict[str, Any]:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        vectors[SPARSE_VECTOR] = _sparse(_BM25.embed_document(point.text))
    return vectors


def _sparse(terms: edge.SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=terms.indices, values=terms.values)


def _query_of(source: VectorSignal | Words) -> dict[str, Any]:
    if isinstance(source, Words):
        return {"query": models.NearestQuery(nearest=_sparse(_BM25.embed_query(source.text))), "using": SPARSE_VECTOR}
    if source.is_single:
        return {"query": models.NearestQuery(nearest=source.query.tolist()), "using": source.name}
    examples = models.RecommendInput(
        positive=[source.query.tolist(), *(vector.tolist() for vector in source.like)],
        negative=[vector.tolist() for vector in source.unlike],
        strategy=models.RecommendStrategy.SUM_SCORES,
    )
    return {"query": models.RecommendQuery(recommend=examples), "using": source.name}


def _rescored(limit: int) -> models.SearchParams:
    return models.SearchParams(
        quantization=models.QuantizationSearchParams(rescore=True, oversampling=oversampling(limit))
    )


def _query_request(request: SearchRequest, **query: Any) -> models.QueryRequest:
    return models.QueryRequest(limit=request.limit, with_payload=True, with_vector=list(request.vectors), **query)


def _formula(request: SearchRequest) -> models.FormulaQuery:
    """Sum of weight * (cosine - zero) / (one - zero) over the vectors, and weight * share of values over the overlaps."""
    terms: list[Any] = []
    for number, signal in enumerate(request.signals):
        # With several examples the engine gives the sum of the cosines.
        examples = 1 + len(signal.like)
        slope = signal.weight / (signal.one - signal.zero) / examples
        cosine = models.SumExpression(sum=[f"$score[{number}]", -signal.zero * examples])
        terms.append(models.MultExpression(mult=[slope, cosine]))
    for overlap in request.overlaps:
        for value in overlap.values:
            has = models.FieldCondition(key=overlap.name, match=models.MatchValue(value=value))
            terms.append(models.MultExpression(mult=[overlap.weight / len(overlap.values), has]))
    defaults = {
        f"$score[{number}]": signal.zero * (1 + len(signal.like)) for number, signal in enumerate(request.signals)
    }
    return models.FormulaQuery(formula=models.SumExpression(sum=terms), defaults=defaults)
