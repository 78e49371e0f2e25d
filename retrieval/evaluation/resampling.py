"""Intervals of text queries, of which there is one a finding: the studies of the gallery are drawn anew instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.intervals import LEVEL


def gallery_intervals(
    hits: Sequence[NDArray[np.bool_]],
    order: Sequence[NDArray[np.int64]],
    studies: Sequence[str],
    resamples: int,
    seed: int,
) -> Callable[[str, NDArray[np.bool_]], tuple[float, float]]:
    """A function from a measure and the queries to keep (bool [Q]) to the percentile interval of their mean.

    A draw holds each image as often as its study was drawn, in the order of the ranking.

    Args:
        hits: For each query, whether each rank is relevant.
        order: For each query, the gallery column at each rank.
        studies: Study of each column.
        resamples: Number of draws.
        seed: Seed of the draws.
    """
    codes = {study: code for code, study in enumerate(dict.fromkeys(studies))}
    study_of = np.array([codes[study] for study in studies])
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(0, len(codes), len(codes)), minlength=len(codes)) for _ in range(resamples)]
    tables: dict[str, NDArray[np.float64]] = {}

    def interval(measure: str, kept: NDArray[np.bool_]) -> tuple[float, float]:
        if not kept.any():
            return float("nan"), float("nan")
        if not tables:
            tables.update(_tables(hits, order, study_of, drawn))
        draws = tables[measure][:, kept]
        means = np.nanmean(draws[~np.isnan(draws).all(axis=1)], axis=1)
        low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
        return float(low), float(high)

    return interval


def _tables(
    hits: Sequence[NDArray[np.bool_]],
    order: Sequence[NDArray[np.int64]],
    study_of: NDArray[np.int64],
    drawn: Sequence[NDArray[np.int64]],
) -> dict[str, NDArray[np.float64]]:
    """Each measure of each query in each draw, float64 [draws, Q]; NaN where a draw has nothing to find."""
    names = ("P@1", "P@5", "P@10", "Hit@10", "nDCG@10", "RR", "AP")
    tables = {name: np.full((len(drawn), len(hits)), np.nan) for name in names}
    places = [study_of[columns] for columns in order]
    for row, times in enumerate(drawn):
        for query, found in enumerate(hits):
            for name, value in measure_ranking(np.repeat(found, times[places[query]])).items():
                tables[name][row, query] = value
    return tables


def measure_ranking(relevant: NDArray[np.bool_]) -> dict[str, float]:
    """The measures of labels on one ranking that holds everything relevant; none where nothing is.

    ir-measures would need a dictionary for each of thousands of draws; the tests hold this against it.
    """
    ranks = np.flatnonzero(relevant) + 1
    if len(ranks) == 0:
        return {}
    gains = 1 / np.log2(np.arange(2, 12))
    return {
        **{f"P@{k}": float((ranks <= k).sum() / k) for k in (1, 5, 10)},
        "Hit@10": float(ranks[0] <= 10),
        "nDCG@10": float(gains[ranks[ranks <= 10] - 1].sum() / gains[: min(len(ranks), 10)].sum()),
        "RR": float(1 / ranks[0]),
        "AP": float((np.arange(1, len(ranks) + 1) / ranks).mean()),
    }
