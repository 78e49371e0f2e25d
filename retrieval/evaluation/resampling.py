"""Intervals where labels judge: studies are drawn anew as queries and in the gallery at once.

Queries alone would not do: every image is also in the gallery of the others, so that rankings share their luck. (A random
encoder's intervals of AP then miss chance in one of three corpora; the tests hold the present ones against it.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

MEASURES = ("P@1", "P@5", "P@10", "Hit@10", "nDCG@10", "RR", "AP")
# The first ten of a drawn gallery lie among its first sixty images, all but once in 10^14 draws.
_NEAR = 60

Draws = Callable[[str, Collection[str]], NDArray[np.float64]]


def label_draws(
    hits: Sequence[NDArray[np.bool_]],
    order: Sequence[NDArray[np.int64]],
    relevant: Sequence[int],
    findings: Sequence[str],
    column_studies: Sequence[str],
    query_studies: Sequence[str] | None,
    *,
    resamples: int,
    seed: int,
) -> Draws:
    """A function from a measure and some findings to their macro mean in each draw, float64 [resamples].

    It is NaN where a draw leaves it undefined. The same studies and seed give the same draws, whatever the rankings: those
    of two systems are paired.

    Args:
        hits: For each query, whether each rank is relevant.
        order: For each query, the gallery column at each rank.
        relevant: For each query, how many relevant items there are; those past the end of the ranking count once.
        findings: The finding of each query.
        column_studies: Study of each column.
        query_studies: Study of each query; None for queries that are no study's, such as prompts.
        resamples: Number of draws.
        seed: Seed of the draws.
    """
    codes = {study: code for code, study in enumerate(dict.fromkeys(column_studies))}
    study_of = np.array([codes[study] for study in column_studies])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(codes), np.full(len(codes), 1 / len(codes)), size=resamples).astype(np.float32)
    names = list(dict.fromkeys(findings))
    totals = {name: np.zeros((resamples, len(names))) for name in MEASURES}
    weights = np.zeros((resamples, len(names)))
    for query, found in enumerate(hits):
        place = names.index(findings[query])
        times = drawn[:, study_of[order[query]]]
        beyond = relevant[query] - int(found.sum())
        held = (times @ found.astype(np.float32)) + beyond > 0
        weight = held * (drawn[:, codes[query_studies[query]]] if query_studies else 1.0)
        weights[:, place] += weight
        for name, values in measure_draws(found, times, beyond).items():
            totals[name][:, place] += weight * values

    def draws(measure: str, kept: Collection[str]) -> NDArray[np.float64]:
        places = [names.index(name) for name in kept]
        total, weight = totals[measure][:, places], weights[:, places]
        means = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
        known = ~np.isnan(means).all(axis=1)
        result = np.full(resamples, np.nan)
        result[known] = np.nanmean(means[known], axis=1)
        return result

    return draws


def measure_draws(
    found: NDArray[np.bool_], times: NDArray[np.float32], beyond: int = 0
) -> dict[str, NDArray[np.float64]]:
    """The measures of one ranking in many draws, float64 [draws] each; 0 where a draw has nothing relevant.

    Args:
        found: Whether each rank is relevant, bool [L].
        times: How often each draw holds what is at each rank, float32 [draws, L]; copies follow each other.
        beyond: Relevant items past the end of the ranking.
    """
    before = np.cumsum(times, axis=1) - times
    near, near_before, near_found = times[:, :_NEAR], before[:, :_NEAR], found[:_NEAR]
    total = times @ found.astype(np.float32) + beyond
    values: dict[str, NDArray[np.float64]] = {}
    for k in (1, 5, 10):
        taken = np.clip(k - near_before, 0, near)
        values[f"P@{k}"] = (taken @ near_found) / k
    values["Hit@10"] = (values["P@10"] > 0).astype(np.float64)
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, 12)))])
    start, end = np.clip(near_before, 0, 10).astype(int), np.clip(near_before + near, 0, 10).astype(int)
    ideal = gains[np.clip(total, 0, 10).astype(int)]
    gained = ((gains[end] - gains[start]) * near_found).sum(axis=1)
    values["nDCG@10"] = np.divide(gained, ideal, out=np.zeros_like(ideal), where=ideal > 0)
    copies, rank = times[:, found], before[:, found]
    so_far = np.cumsum(copies, axis=1) - copies
    first = np.where(copies > 0, rank + 1, np.inf).min(axis=1, initial=np.inf)
    values["RR"] = 1 / first
    precisions = np.zeros(len(times))
    for copy in range(1, int(copies.max(initial=0)) + 1):
        precisions += np.where(copies >= copy, (so_far + copy) / (rank + copy), 0).sum(axis=1)
    values["AP"] = np.divide(precisions, total, out=np.zeros_like(precisions), where=total > 0)
    return values
