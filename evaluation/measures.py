"""Recall of a similarity matrix and its chance level, in numpy.

A similarity matrix is float [Q, G]: row i is query i, column j is gallery item j, and higher means more similar. A relevance
matrix is bool [Q, G]. Ties rank in the order of the columns, so results do not depend on the sort algorithm.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray


def same_label(queries: Sequence[Hashable], gallery: Sequence[Hashable]) -> NDArray[np.bool_]:
    """Relevance matrix of equal labels, bool [Q, G]: strict with study ids, grouped with report groups."""
    codes = {label: code for code, label in enumerate(dict.fromkeys([*queries, *gallery]))}
    rows = np.array([codes[label] for label in queries], dtype=np.int64)
    columns = np.array([codes[label] for label in gallery], dtype=np.int64)
    same: NDArray[np.bool_] = rows[:, None] == columns[None, :]
    return same


def first_relevant_ranks(similarity: NDArray[np.floating], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank (from 1) of the best relevant item of each query, int64 [Q]; 0 for a query without one."""
    _require_same_shape(similarity, relevant)
    # With -inf for irrelevant items, argmax finds the first of the best relevant columns.
    best = np.where(relevant, similarity, -np.inf).argmax(axis=1)
    score = np.take_along_axis(similarity, best[:, None], axis=1)
    columns = np.arange(similarity.shape[1])
    ahead = (similarity > score) | ((similarity == score) & (columns[None, :] < best[:, None]))
    ranks = ahead.sum(axis=1, dtype=np.int64) + 1
    return np.where(relevant.any(axis=1), ranks, 0)


def recall_at(similarity: NDArray[np.floating], relevant: NDArray[np.bool_], k: int) -> float:
    """R@K of pairs: the share of queries with a relevant item among the first `k`, 0..1.

    Queries without a relevant item do not count. NaN if no query counts.
    """
    ranks = first_relevant_ranks(similarity, relevant)
    ranks = ranks[ranks > 0]
    return float((ranks <= k).mean()) if len(ranks) else float("nan")


def chance_recall_at(relevant: NDArray[np.bool_], k: int) -> float:
    """Chance level of `recall_at`: the mean over queries of 1 - C(G - r, k) / C(G, k)."""
    size = relevant.shape[1]
    counts = [int(count) for count in relevant.sum(axis=1) if count]
    drawn = min(k, size)
    misses = [comb(size - count, drawn) / comb(size, drawn) for count in counts]
    return float(1 - np.mean(misses)) if counts else float("nan")


def _require_same_shape(similarity: NDArray[np.floating], relevant: NDArray[np.bool_]) -> None:
    if similarity.shape != relevant.shape or similarity.ndim != 2:
        raise ValueError(f"similarity {similarity.shape} and relevance {relevant.shape} must be [Q, G] alike")
