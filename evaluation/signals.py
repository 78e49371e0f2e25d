"""The service's own reordering, computed from stored vectors: what an unseen image is compared with, signal by signal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import Corpus
from evaluation.scoring import Scorer
from evaluation.tasks import IntArray, Task
from retrieval.index.interface import FloatArray
from retrieval.index.schema import DENSE_VECTORS, Scale
from retrieval.search.rerank import CANDIDATES

IMAGE_SIGNALS = DENSE_VECTORS
"""Signals that an image brings a side to: its vector is compared with the image and with both sections of the report."""


def image_signals(task: Task, corpus: Corpus, calibration: Mapping[str, Scale], numbers: IntArray) -> FloatArray:
    """Calibrated signals of queries by image, float32 [S, B, G]; 0 where an image lacks a section, as the engine counts."""
    queries = corpus.vectors[task.rows[numbers]]
    layers = []
    for name in IMAGE_SIGNALS:
        scale = calibration.get(f"image/{name}", Scale(zero=0.0, one=1.0))
        cosines = queries @ corpus.sections[name][task.columns].T
        layers.append(np.nan_to_num((cosines - scale.zero) / (scale.one - scale.zero), nan=0.0))
    return np.stack(layers).astype(np.float32)


def rerank_scorer(task: Task, corpus: Corpus, calibration: Mapping[str, Scale], weights: Mapping[str, float]) -> Scorer:
    """The nearest images by image alone, the first `CANDIDATES` of them reordered by the weighted sum of the signals."""
    usable = np.array([weights.get(name, 0.0) for name in IMAGE_SIGNALS])
    shares = usable / usable.sum()

    def score(numbers: IntArray) -> NDArray[np.float64]:
        signals = image_signals(task, corpus, calibration, numbers)
        return reorder(signals, shares, task.left_out(numbers))

    return score


def reorder(signals: FloatArray, shares: NDArray[np.float64], left_out: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Similarity, float64 [B, G], that ranks the candidates by their weighted sum and all others behind them.

    Args:
        signals: Calibrated signals, float32 [S, B, G], that of the image first.
        shares: Weights of the signals, float64 [S].
        left_out: What cannot be a candidate, bool [B, G].
    """
    nearest = np.where(left_out, -np.inf, signals[0])
    order = np.argsort(-nearest, axis=1, kind="stable")[:, :CANDIDATES]
    summed = np.tensordot(shares, signals, axes=1)
    behind = float(min(summed.min(), signals[0].min()) - signals[0].max()) - 1.0
    similarity: NDArray[np.float64] = signals[0].astype(np.float64) + behind
    np.put_along_axis(similarity, order, np.take_along_axis(summed, order, axis=1), axis=1)
    return similarity
