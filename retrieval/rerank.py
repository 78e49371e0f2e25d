"""The five signals: their weights, their common scale, and what each gave to a hit's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.index.interface import Collection, FloatArray, OverlapSignal, Scored, SearchRequest, VectorSignal
from retrieval.index.schema import DENSE_VECTORS, Scale

Rerank = Literal["signals", "none"]
QueryKind = Literal["image", "text"]

WEIGHTS = {"image": 0.30, "findings": 0.25, "impression": 0.20, "mesh": 0.15, "problems": 0.10}
"""Starting weights of the similarity to image, findings and impression, and of the overlap of MeSH and Problems."""

CANDIDATES = 100
"""Nearest images that are reordered."""

_SAMPLE = 600
_SIMILAR_PERCENTILE = 99.5


@dataclass(frozen=True, slots=True)
class QuerySides:
    """What a query brings to each signal: a vector (float32 [D]) by vector name, with its kind, and terms to overlap."""

    vectors: dict[str, tuple[QueryKind, FloatArray]]
    terms: dict[str, tuple[str, ...]]


def plan(
    sides: QuerySides, calibration: dict[str, Scale], request: SearchRequest, *, rerank: Rerank = "signals"
) -> SearchRequest:
    """`request` with the signals that the query has a side for, their weights made to add up to 1.

    With `rerank="none"` only the image signal stays, as the plain cosine.
    """
    if rerank == "none":
        _, vector = sides.vectors["image"]
        return replace(request, signals=(VectorSignal("image", vector, 1.0),), overlaps=())
    terms = {name: values for name, values in sides.terms.items() if values}
    total = sum(WEIGHTS[name] for name in (*sides.vectors, *terms))
    signals = []
    for name, (kind, vector) in sides.vectors.items():
        scale = calibration.get(f"{kind}/{name}", Scale(zero=0.0, one=1.0))
        signals.append(VectorSignal(name, vector, WEIGHTS[name] / total, zero=scale.zero, one=scale.one))
    overlaps = [OverlapSignal(name, values, WEIGHTS[name] / total) for name, values in terms.items()]
    return replace(request, signals=tuple(signals), overlaps=tuple(overlaps), candidates=CANDIDATES)


def raw_signals(request: SearchRequest, hit: Scored) -> dict[str, float]:
    """Raw value of each signal of a hit: cosines (-1..1) where it has the vector, shares of terms (0..1)."""
    shares = {overlap.name: _share(overlap, hit.payload) for overlap in request.overlaps}
    return {signal.name: hit.cosines[signal.name] for signal in request.signals if signal.name in hit.cosines} | shares


def parts(request: SearchRequest, hit: Scored) -> dict[str, float]:
    """What each signal gave to a hit; the parts add up to its score. A missing vector gives 0."""
    gave = {}
    for signal in request.signals:
        cosine = hit.cosines.get(signal.name, signal.zero)
        gave[signal.name] = signal.weight * (cosine - signal.zero) / (signal.one - signal.zero)
    for overlap in request.overlaps:
        gave[overlap.name] = overlap.weight * _share(overlap, hit.payload)
    return gave


def calibrate(collection: Collection) -> dict[str, Scale]:
    """Where each kind of cosine lies in a collection, from a sample of its points, by `<kind of query>/<vector>`.

    Image-image, image-text and text-text cosines of one model live on different scales, so that a plain sum would let
    one drown the others. `zero` is the median cosine of pairs from different studies and report groups, `one` the
    99.5th percentile. Text towers see findings and impression alike, so a text query takes the scale of text pairs.
    """
    points = list(collection.scroll(limit=_SAMPLE, vectors=DENSE_VECTORS))
    scales = {}
    for left, right in combinations_with_replacement(DENSE_VECTORS, 2):
        scale = _scale_of(points, left, right)
        if scale is None:
            continue
        if left == right:
            scales[f"{'image' if left == 'image' else 'text'}/{left}"] = scale
        elif left == "image":
            scales[f"image/{right}"] = scale
            if right == "findings":
                scales["text/image"] = scale
    return scales


def _scale_of(points: Sequence[Any], left: str, right: str) -> Scale | None:
    rows = [point for point in points if left in point.vectors]
    columns = [point for point in points if right in point.vectors]
    if len(rows) < 2 or len(columns) < 2:
        return None
    cosines: NDArray[np.float32] = (
        np.stack([point.vectors[left] for point in rows]) @ np.stack([point.vectors[right] for point in columns]).T
    )
    different = _differ(rows, columns, "study_id") & _differ(rows, columns, "report_group")
    unrelated = cosines[different]
    if unrelated.size == 0:
        return None
    zero, one = np.percentile(unrelated, [50, _SIMILAR_PERCENTILE])
    # A collection whose vectors are all alike has no scale of its own.
    return Scale(zero=float(zero), one=float(one)) if one - zero > 1e-4 else None


def _differ(rows: Sequence[Any], columns: Sequence[Any], field: str) -> NDArray[np.bool_]:
    left = np.array([point.payload[field] for point in rows])
    right = np.array([point.payload[field] for point in columns])
    different: NDArray[np.bool_] = left[:, None] != right[None, :]
    return different


def _share(overlap: OverlapSignal, payload: dict[str, Any]) -> float:
    held = set(payload[overlap.name])
    return sum(value in held for value in overlap.values) / len(overlap.values)
