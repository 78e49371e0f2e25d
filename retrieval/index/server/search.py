"""The steps of a search on a Qdrant server, as plain JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import qdrant_edge as edge

from retrieval.index.filters import FilterClasses, render_filter
from retrieval.index.schema import SPARSE_VECTOR, oversampling
from retrieval.index.search_request import SearchRequest, Vector, VectorSignal, Words

# Both engines take the tokens of Edge's BM25, so that they index the same terms.
BM25 = edge.Bm25()
FILTERS = FilterClasses(
    SimpleNamespace(Filter=dict, FieldCondition=dict, MatchValue=dict, MatchAny=dict),
    date_range=dict,
    has_id=lambda point_ids: {"has_id": list(point_ids)},
)
_FULL_PRECISION = {"quantization": {"ignore": True}}


class FoundPoint(msgspec.Struct):
    """A point in an answer of the server."""

    id: str | int
    score: float = 0.0
    payload: dict[str, Any] | None = None
    vector: Any = None


class _Points(msgspec.Struct):
    points: list[FoundPoint]


class ServerSearch:
    """The steps of one search on a server, a request each."""

    def __init__(self, request: SearchRequest, call: Callable[..., Any]) -> None:
        """Search for `request`; `call(path, body, answer)` posts to the collection."""
        self._request = request
        self._call = call
        self._filter = render_filter(request.filters, FILTERS, request.exclude)

    def nearest(self, sources: Sequence[VectorSignal | Words], limit: int) -> list[list[FoundPoint]]:
        """See `SearchSteps.nearest`."""
        params = {"quantization": {"rescore": True, "oversampling": oversampling(limit)}}
        common = {"filter": self._filter, "params": params, "limit": limit}
        return self._batch([_query_of(source) | common for source in sources])

    def best(self, pool: Sequence[FoundPoint], limit: int) -> tuple[list[FoundPoint], list[list[FoundPoint]]]:
        """See `SearchSteps.best`."""
        among = {"filter": {"must": [{"has_id": [point.id for point in pool]}]}, "limit": len(pool)}
        scored = [_query_of(signal) | among | {"params": _FULL_PRECISION} for signal in self._request.signals]
        # A prefetch holds only points that have its vector; the pool itself adds those that lack all of them.
        summed = {"prefetch": [*scored, among], "query": _formula(self._request), "limit": limit} | self._contents
        found, *raw = self._batch([summed, *scored])
        return found, raw

    def load(self, points: Sequence[FoundPoint]) -> list[FoundPoint]:
        """See `SearchSteps.load`."""
        records: list[FoundPoint] = self._call(
            "points", {"ids": [point.id for point in points]} | self._contents, list[FoundPoint]
        )
        by_id = {record.id: record for record in records}
        return [msgspec.structs.replace(by_id[point.id], score=point.score) for point in points if point.id in by_id]

    @property
    def _contents(self) -> dict[str, Any]:
        return {"with_payload": True, "with_vector": list(self._request.vectors)}

    def _batch(self, searches: list[dict[str, Any]]) -> list[list[FoundPoint]]:
        answers: list[_Points] = self._call("points/query/batch", {"searches": searches}, list[_Points])
        return [answer.points for answer in answers]


def sparse_of(terms: edge.SparseVector) -> dict[str, Any]:
    """A sparse vector as JSON."""
    return {"indices": terms.indices, "values": terms.values}


def _query_of(source: VectorSignal | Words) -> dict[str, Any]:
    """The query of a list or signal; with several examples its score is the sum of their cosines."""
    if isinstance(source, Words):
        return {"query": {"nearest": sparse_of(BM25.embed_query(source.text))}, "using": SPARSE_VECTOR}
    if source.is_single:
        return {"query": {"nearest": _plain(source.query)}, "using": source.name}
    examples = {
        "positive": [_plain(source.query), *(_plain(vector) for vector in source.like)],
        "negative": [_plain(vector) for vector in source.unlike],
        "strategy": "sum_scores",
    }
    return {"query": {"recommend": examples}, "using": source.name}


def _plain(vector: Vector) -> str | msgspec.Raw:
    """The id of a stored vector, which the server looks up, or the values of another as JSON.

    Ten decimals give the same bits in single precision for values from 0.001 on, and are half as long as what Python
    writes.
    """
    if isinstance(vector, str):
        return vector
    return msgspec.Raw(msgspec.json.encode(vector.astype(np.float64).round(10).tolist()))


def _formula(request: SearchRequest) -> dict[str, Any]:
    """Sum of weight * (cosine - zero) / (one - zero) over the vectors, and weight * share of values over the overlaps."""
    terms: list[Any] = []
    defaults = {}
    for number, signal in enumerate(request.signals):
        # With several examples the engine gives the sum of the cosines.
        examples = 1 + len(signal.like)
        slope = signal.weight / (signal.one - signal.zero) / examples
        terms.append({"mult": [slope, {"sum": [f"$score[{number}]", -signal.zero * examples]}]})
        defaults[f"$score[{number}]"] = signal.zero * examples
    for overlap in request.overlaps:
        weight = overlap.weight / len(overlap.values)
        terms += [{"mult": [weight, {"key": overlap.name, "match": {"value": value}}]} for value in overlap.values]
    return {"formula": {"sum": terms}, "defaults": defaults}
