"""The rerank of image queries, computed from stored vectors: one similarity per signal, and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import Corpus
from evaluation.scoring import Scorer
from evaluation.tasks import IntArray, Task
from retrieval.index.schema import DENSE_VECTORS, Scale
from retrieval.index.search_request import FloatArray
from retrieval.search.rerank import CANDIDATES

IMAGE_SIGNALS = DENSE_VECTORS
"""Signals of an image query: its vector is compared with the image and with both sections of the report."""


def image_signals(task: Task, corpus: Corpus, calibration: Mapping[str, Scale], numbers: IntArray) -> FloatArray:
    """Calibrated signals of image queries, float32 [S, B, G]; 0 where an image lacks a section, as in the engine."""
    queries = corpus.vectors[task.rows[numbers]]
    layers = []
    for name in IMAGE_SIGNALS:
        scale = calibration.get(f"image/{name}", Scale(zero=0.0, one=1.0))
        cosines = queries @ corpus.sections[name][task.columns].T
        layers.append(np.nan_to_num((cosines - scale.zero) / (scale.one - scale.zero), nan=0.0))
    return np.stack(layers).astype(np.float32)


def rerank_scorer(task: Task, corpus: Corpus, calibration: Mapping[str, Scale], weights: Mapping[str, float]) -> Scorer:
    """A scorer that ranks by image similarity and reranks the first `CANDIDATES` by the weighted sum of the signals."""
    image_weights = np.array([weights.get(name, 0.0) for name in IMAGE_SIGNALS])
    shares = image_weights / image_weights.sum()

    def score(numbers: IntArray) -> NDArray[np.float64]:
        signals = image_signals(task, corpus, calibration, numbers)
        return reorder(signals, shares, task.left_out(numbers))

    return score


def reorder(signals: FloatArray, shares: NDArray[np.float64], left_out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Similarity, float64 [B, G], that ranks the candidates by their weighted sum, and all other images below them.

    Args:
        signals: Calibrated signals, float32 [S, B, G]; the image signal comes first.
        shares: Weights of the signals, float64 [S].
        left_out: Images that cannot be candidates, bool [B, G].
    """
    nearest = np.where(left_out, -np.inf, signals[0])
    order = np.argsort(-nearest, axis=1, kind="stable")[:, :CANDIDATES]
    summed = np.tensordot(shares, signals, axes=1)
    offset = float(min(summed.min(), signals[0].min()) - signals[0].max()) - 1.0
    similarity: NDArray[np.float64] = signals[0].astype(np.float64) + offset
    np.put_along_axis(similarity, order, np.take_along_axis(summed, order, axis=1), axis=1)
    return similarity
