"""Search requests as queries of the embedded engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from retrieval.index.filters import FilterClasses
from retrieval.index.interface import SearchRequest, VectorSignal, Words
from retrieval.index.schema import SPARSE_VECTOR, oversampling

BM25 = edge.Bm25()
FILTERS = FilterClasses(
    edge, date_range=edge.RangeDateTime, has_id=lambda point_ids: edge.HasIdCondition(set(point_ids))
)
_FULL_PRECISION = edge.SearchParams(quantization=edge.QuantizationSearchParams(ignore=True))


def query_of(source: VectorSignal | Words) -> edge.Query:
    """The query of a list or signal; with several examples its score is the sum of their cosines."""
    if isinstance(source, Words):
        return edge.Query.Nearest(BM25.embed_query(source.text), using=SPARSE_VECTOR)
    if source.is_single:
        return edge.Query.Nearest(source.query.tolist(), using=source.name)
    examples = edge.RecommendQuery(
        positives=[source.query.tolist(), *(vector.tolist() for vector in source.like)],
        negatives=[vector.tolist() for vector in source.unlike],
    )
    return edge.Query.RecommendSumScores(examples, using=source.name)


def nearest(query: edge.Query, query_filter: edge.Filter | None, limit: int) -> edge.QueryRequest:
    """The `limit` best points of one list."""
    return edge.QueryRequest(query=query, filter=query_filter, params=_rescored(limit), limit=limit)


def summed(request: SearchRequest, queries: Sequence[edge.Query], pool: Sequence[Any]) -> edge.QueryRequest:
    """The best points of `pool` by the weighted sum of all signals; `queries` are those of the signals."""
    among = _only(pool)
    # The formula needs the score of each candidate by each signal, and every candidate at least once.
    prefetches = [
        edge.Prefetch(query=query, filter=among, params=_FULL_PRECISION, limit=len(pool)) for query in queries
    ]
    if all(signal.name != "image" for signal in request.signals):
        # A prefetch holds only points that have its vector; this one adds those that lack all of them.
        prefetches.append(edge.Prefetch(filter=among, limit=len(pool)))
    return edge.QueryRequest(prefetches=prefetches, query=_formula(request), limit=request.limit)


def scored(queries: Sequence[edge.Query], points: Sequence[Any]) -> edge.QueryBatchRequest:
    """The scores of `points` by each query."""
    among = _only(points)
    return edge.QueryBatchRequest(
        [edge.QueryRequest(query=query, filter=among, params=_FULL_PRECISION, limit=len(points)) for query in queries]
    )


def _only(points: Sequence[Any]) -> edge.Filter:
    return edge.Filter(must=[FILTERS.has_id({point.id for point in points})])


def _rescored(limit: int) -> edge.SearchParams:
    return edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=oversampling(limit)))


def _formula(request: SearchRequest) -> edge.Formula:
    """Sum of weight * (cosine - zero) / (one - zero) over the vectors, and weight * share of values over the overlaps."""
    term = edge.Expression
    terms = []
    for number, signal in enumerate(request.signals):
        # With several examples the engine gives the sum of the cosines.
        examples = 1 + len(signal.like)
        slope = signal.weight / (signal.one - signal.zero) / examples
        cosine = term.Sum([term.Variable(f"$score[{number}]"), term.Constant(-signal.zero * examples)])
        terms.append(term.Mult([term.Constant(slope), cosine]))
    for overlap in request.overlaps:
        for value in overlap.values:
            has = term.Condition(edge.FieldCondition(key=overlap.name, match=edge.MatchValue(value=value)))
            terms.append(term.Mult([term.Constant(overlap.weight / len(overlap.values)), has]))
    defaults = {
        f"$score[{number}]": signal.zero * (1 + len(signal.like)) for number, signal in enumerate(request.signals)
    }
    return edge.Formula(term.Sum(terms), defaults=defaults)
