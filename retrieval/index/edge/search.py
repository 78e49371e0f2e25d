"""The steps of a search in the embedded engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import qdrant_edge as edge

from retrieval.index.edge.shard import Shard
from retrieval.index.filters import FilterClasses, render_filter
from retrieval.index.schema import SPARSE_VECTOR, oversampling
from retrieval.index.search_request import SearchRequest, Vector, VectorSignal, Words

BM25 = edge.Bm25()
FILTERS = FilterClasses(
    edge, date_range=edge.RangeDateTime, has_id=lambda point_ids: edge.HasIdCondition(set(point_ids))
)
_FULL_PRECISION = edge.SearchParams(quantization=edge.QuantizationSearchParams(ignore=True))


class _Found(NamedTuple):
    """A point that was found, with payload and vectors."""

    id: Any
    score: float
    payload: dict[str, Any] | None
    vector: Any


class EdgeSearch:
    """The steps of one search in a shard."""

    def __init__(self, shard: Shard, request: SearchRequest) -> None:
        """Search `shard` for `request`, which has all vectors."""
        self._shard = shard
        self._request = request
        self._filter = render_filter(request.filters, FILTERS, request.exclude)
        self._signals = [_query_of(signal) for signal in request.signals]

    def nearest(self, sources: Sequence[VectorSignal | Words], limit: int) -> list[list[Any]]:
        """See `SearchSteps.nearest`."""
        rescored = edge.QuantizationSearchParams(rescore=True, oversampling=oversampling(limit))
        params = edge.SearchParams(quantization=rescored)
        queries = [
            edge.QueryRequest(query=_query_of(source), filter=self._filter, params=params, limit=limit)
            for source in sources
        ]
        if len(queries) == 1:
            return [self._shard.query(queries[0])]
        found: list[list[Any]] = self._shard.query_batch(edge.QueryBatchRequest(queries))
        return found

    def best(self, pool: Sequence[Any], limit: int) -> tuple[list[Any], list[list[Any]]]:
        """See `SearchSteps.best`. The raw values are those of the points found, not of the whole pool."""
        among = _only(pool)
        # The formula needs the score of each candidate by each signal, and every candidate at least once.
        prefetches = [
            edge.Prefetch(query=query, filter=among, params=_FULL_PRECISION, limit=len(pool)) for query in self._signals
        ]
        if all(signal.name != "image" for signal in self._request.signals):
            # A prefetch holds only points that have its vector; this one adds those that lack all of them.
            prefetches.append(edge.Prefetch(filter=among, limit=len(pool)))
        found = self._shard.query(edge.QueryRequest(prefetches=prefetches, query=_formula(self._request), limit=limit))
        among = _only(found)
        raw = self._shard.query_batch(
            edge.QueryBatchRequest(
                [
                    edge.QueryRequest(query=query, filter=among, params=_FULL_PRECISION, limit=len(found))
                    for query in self._signals
                ]
            )
        )
        return self.load(found), raw

    def load(self, points: Sequence[Any]) -> list[_Found]:
        """See `SearchSteps.load`. Payloads retrieved by id cost a fifth of those returned by a search."""
        scores = {point.id: point.score for point in points}
        held = self._shard.retrieve(list(scores), with_payload=True, with_vector=list(self._request.vectors))
        by_id = {record.id: record for record in held}
        return [
            _Found(key, score, by_id[key].payload, by_id[key].vector) for key, score in scores.items() if key in by_id
        ]


def _query_of(source: VectorSignal | Words) -> edge.Query:
    """The query of a list or signal; with several examples its score is the sum of their cosines."""
    if isinstance(source, Words):
        return edge.Query.Nearest(BM25.embed_query(source.text), using=SPARSE_VECTOR)
    if source.is_single:
        return edge.Query.Nearest(_values(source.query), using=source.name)
    examples = edge.RecommendQuery(
        positives=[_values(source.query), *(_values(vector) for vector in source.like)],
        negatives=[_values(vector) for vector in source.unlike],
    )
    return edge.Query.RecommendSumScores(examples, using=source.name)


def _values(vector: Vector) -> list[float]:
    assert not isinstance(vector, str), "stored vectors are resolved before"
    values: list[float] = vector.tolist()
    return values


def _only(points: Sequence[Any]) -> edge.Filter:
    return edge.Filter(must=[FILTERS.has_id({point.id for point in points})])


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
