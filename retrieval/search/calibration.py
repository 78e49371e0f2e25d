"""A common scale for cosines of different kinds, from the cosines of unrelated pairs of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.index.interface import Collection
from retrieval.index.schema import DENSE_VECTORS, Scale

PERCENTILES = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0)
"""Percentiles of unrelated pairs that a collection records; denser in the range of hits."""

_SAMPLE = 600
_ZERO, _ONE = 50.0, 99.5


def calibrate(collection: Collection) -> dict[str, Scale]:
    """Scales of the cosines in a collection by `<kind of query>/<vector>`, from a sample of its points.

    Image-image, image-text and text-text cosines of a model have different scales, so that one kind would dominate a plain
    sum. `zero` is the median cosine of pairs from different studies and report groups, `one` the 99.5th percentile. A text
    query takes the scale of text pairs.
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
    """Percentage of the collection's unrelated pairs with a lower cosine, 0..100, for each of `cosines`.

    Linear between the recorded percentiles: with 99.9, one unrelated pair in a thousand is as similar. `scale` must have
    quantiles.
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
    different = _differs(rows, columns, "study_id") & _differs(rows, columns, "report_group")
    unrelated = cosines[different]
    if unrelated.size == 0:
        return None
    quantiles = [float(value) for value in np.percentile(unrelated, PERCENTILES)]
    zero, one = (quantiles[PERCENTILES.index(percentile)] for percentile in (_ZERO, _ONE))
    # If all vectors are nearly equal there is no scale.
    return Scale(zero, one, tuple(quantiles)) if one - zero > 1e-4 else None


def _differs(rows: Sequence[Any], columns: Sequence[Any], field: str) -> NDArray[np.bool_]:
    left = np.array([point.payload[field] for point in rows])
    right = np.array([point.payload[field] for point in columns])
    different: NDArray[np.bool_] = left[:, None] != right[None, :]
    return different
