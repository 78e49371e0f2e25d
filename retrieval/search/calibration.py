"""One scale for cosines of different kinds: where unrelated pairs of a collection lie, and what share is less alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index.interface import Collection
from retrieval.index.schema import DENSE_VECTORS, Scale

PERCENTILES = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0)
"""Where the distribution of unrelated pairs is kept; closer together where hits lie."""

_SAMPLE = 600
_ZERO, _ONE = 50.0, 99.5


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


def percentiles_of(cosines: Sequence[float], scale: Scale) -> list[float]:
    """Per cent of this collection's unrelated pairs whose cosine is lower, 0..100, for each cosine.

    Linear between the percentiles kept: 99.9 means that one unrelated pair in a thousand is as alike. The scale must
    have quantiles.
    """
    found: list[float] = np.interp(cosines, scale.quantiles, PERCENTILES).round(2).tolist()
    return found


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
    quantiles = [float(value) for value in np.percentile(unrelated, PERCENTILES)]
    zero, one = (quantiles[PERCENTILES.index(percentile)] for percentile in (_ZERO, _ONE))
    # A collection whose vectors are all alike has no scale of its own.
    return Scale(zero, one, tuple(quantiles)) if one - zero > 1e-4 else None


def _differ(rows: Sequence[Any], columns: Sequence[Any], field: str) -> NDArray[np.bool_]:
    left = np.array([point.payload[field] for point in rows])
    right = np.array([point.payload[field] for point in columns])
    different: NDArray[np.bool_] = left[:, None] != right[None, :]
    return different
