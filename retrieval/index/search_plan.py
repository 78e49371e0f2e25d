"""The steps of a search, equal on both engines: candidates, the best of them by all signals, and their payloads.

The engine scores; ties and sums are decided here, so that both engines give the same hits in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from retrieval.errors import InvalidRequest, UnknownStudy
from retrieval.index.interface import Stored, dense_vectors
from retrieval.index.search_request import RRF_K, Scored, SearchRequest, Vector, VectorSignal, Words, parts_of

TIE_MARGIN = 16
"""Points beyond the end of a list that are requested to see whether scores tie there."""

_MOST_TIED = 20_000
"""Points of a list up to which all that tie at its end are requested."""

_ROUNDING = 1e-5
"""Difference of sums of scores that the engine's single precision can make."""


class SearchSteps(Protocol):
    """The requests of one search to an engine. Points have `id`, `score`, `payload` and `vector`."""

    def nearest(self, sources: Sequence[VectorSignal | Words], limit: int) -> list[list[Any]]:
        """The `limit` best points of each list, best first, without payload."""

    def best(self, pool: Sequence[Any], limit: int) -> tuple[list[Any], list[list[Any]]]:
        """The `limit` best points of `pool` by the sum of all signals, with payload, and their scores by each signal."""

    def load(self, points: Sequence[Any]) -> list[Any]:
        """`points` with their payload and the requested vectors, without those that were deleted since."""


def run_search(steps: SearchSteps, request: SearchRequest) -> list[Scored]:
    """The hits of `request`, best first; ties break on the id."""
    if request.is_plain or not request.signals:
        lists = _complete_lists(steps, request.sources, request.limit if request.is_plain else request.depth)
        found = lists[0] if request.is_plain else _fuse(lists, request.limit)
        return _hits(request, steps.load(found) if found else [], lists)
    lists = _complete_lists(steps, request.sources, request.depth)
    pool = lists[0] if len(lists) == 1 else _fuse(lists, request.depth)
    if not pool:
        return []
    asked = min(request.limit + TIE_MARGIN, len(pool))
    found, raw = steps.best(pool, asked)
    if asked < len(pool) and len(found) == asked and found[request.limit - 1].score - found[-1].score <= _ROUNDING:
        found, raw = steps.best(pool, len(pool))
    return _hits(request, found, raw)[: request.limit]


def stored_ids(request: SearchRequest) -> list[str]:
    """The stored points whose vectors `request` searches for."""
    vectors = [vector for one in _vector_signals(request) for vector in (one.query, *one.like, *one.unlike)]
    return list(dict.fromkeys(vector for vector in vectors if isinstance(vector, str)))


def with_vectors(request: SearchRequest, stored: Mapping[str, Stored]) -> SearchRequest:
    """`request` with the vectors of `stored` in place of their ids. Signals of a vector that is missing are left out.

    Raises:
        UnknownStudy: a point was removed. InvalidRequest: a list needs a vector that is missing.
    """
    if not stored.keys() >= set(stored_ids(request)):
        raise UnknownStudy("a case of the query was removed during the search")

    def resolve(signal: VectorSignal) -> VectorSignal | None:
        def vector_of(vector: Vector) -> Vector:
            return stored[vector].vectors[signal.name] if isinstance(vector, str) else vector

        try:
            query, *like = (vector_of(vector) for vector in (signal.query, *signal.like))
            unlike = [vector_of(vector) for vector in signal.unlike]
        except KeyError:
            return None
        return replace(signal, query=query, like=tuple(like), unlike=tuple(unlike))

    lists = [one if isinstance(one, Words) else resolve(one) for one in request.sources]
    if any(one is None for one in lists):
        raise InvalidRequest("a case of the query has no image vector; see `cxr doctor`")
    signals = [resolve(signal) for signal in request.signals]
    return replace(
        request,
        lists=tuple(one for one in lists if one is not None) if request.lists else (),
        signals=tuple(signal for signal in signals if signal is not None),
    )


def _vector_signals(request: SearchRequest) -> list[VectorSignal]:
    return [one for one in (*request.sources, *request.signals) if isinstance(one, VectorSignal)]


def _complete_lists(steps: SearchSteps, sources: Sequence[VectorSignal | Words], limit: int) -> list[list[Any]]:
    """The `limit` best points of each list. Where scores tie at its end, the points of the smallest ids."""
    asked = limit + TIE_MARGIN
    lists = steps.nearest(sources, asked)
    for number, source in enumerate(sources):
        points, more = lists[number], asked
        while len(points) == more < _MOST_TIED and points[-1].score == points[limit - 1].score:
            more *= 4
            (points,) = steps.nearest([source], more)
        lists[number] = sorted(points, key=lambda point: (-point.score, str(point.id)))[:limit]
    return lists


def _fuse(lists: Sequence[Sequence[Any]], limit: int) -> list[Any]:
    """The `limit` best points of several ranked lists by reciprocal rank fusion; ties break on the id."""
    scores: dict[Any, float] = {}
    points = {}
    for ranking in lists:
        for rank, point in enumerate(ranking, start=1):
            points[point.id] = point
            scores[point.id] = scores.get(point.id, 0.0) + 1 / (RRF_K + rank)
    return [points[key] for key in sorted(scores, key=lambda key: (-scores[key], str(key)))[:limit]]


def _hits(request: SearchRequest, found: Sequence[Any], raw: Sequence[Sequence[Any]]) -> list[Scored]:
    """The points `found` as hits, best first. `raw` has the points by each signal, or by each list without signals."""
    scored_by = request.signals or request.sources
    wanted = {point.id for point in found}
    values = [
        {point.id: _single(point.score, one) for point in points if point.id in wanted}
        for one, points in zip(scored_by, raw, strict=True)
    ]
    ranks_by_list: list[dict[Any, int]] = []
    if not request.signals and len(request.sources) > 1:
        ranks_by_list = [{point.id: rank for rank, point in enumerate(points, start=1)} for points in raw]
    hits = []
    for point in found:
        key = point.id
        hit = Scored(
            point_id=str(key),
            score=0.0,
            payload=point.payload or {},
            cosines={one.name: by_id[key] for one, by_id in zip(scored_by, values, strict=True) if key in by_id},
            ranks={one.name: by_id[key] for one, by_id in zip(scored_by, ranks_by_list, strict=False) if key in by_id},
            vectors=dense_vectors(point, request.vectors),
        )
        hits.append(replace(hit, score=sum(parts_of(request, hit).values())))
    return sorted(hits, key=lambda hit: (-hit.score, hit.point_id))


def _single(score: float, source: VectorSignal | Words) -> float:
    """A score in the single precision of the engine, for several examples as a mean. A server sends it as decimals."""
    examples = 1 if isinstance(source, Words) else 1 + len(source.like)
    return float(np.float32(score)) / examples
