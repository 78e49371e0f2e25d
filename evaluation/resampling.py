"""Bootstrap for tasks that labels judge: studies are resampled as queries and in the gallery at the same time.

Resampling the queries alone is not enough: each image is also in the gallery of the others, so rankings are correlated.
Without the gallery, the AP interval of a random encoder misses chance in one of three corpora; tests check this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.progress import NoProgress, Progress

MEASURES = ("P@1", "P@5", "P@10", "Hit@10", "nDCG@10", "RR", "AP")
# The first ten of a resampled gallery are among the first sixty images, except in one of 10^14 resamples.
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
    progress: Progress = NoProgress(),
) -> Draws:
    """A function of a measure and some findings that gives their macro mean in each draw, float64 [resamples].

    The mean is NaN if a draw leaves it undefined. The same studies and seed give the same draws for any ranking, so the
    draws of two systems are paired.

    Args:
        hits: For each query, whether each rank is relevant.
        order: For each query, the gallery column at each rank.
        relevant: For each query, the number of relevant items; those past the end of the ranking count once.
        findings: The finding of each query.
        column_studies: Study of each column.
        query_studies: Study of each query; None for queries without a study, such as prompts.
        resamples: Number of draws.
        seed: Seed of the draws.
        progress: Receives the number of queries done.
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
        values, total = measure_draws(found, study_of[order[query]], drawn, relevant[query] - int(found.sum()))
        held = total > 0
        weight = held * (drawn[:, codes[query_studies[query]]] if query_studies else 1.0)
        weights[:, place] += weight
        for name in MEASURES:
            totals[name][:, place] += weight * values[name]
        progress(query + 1, len(hits))

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
    found: NDArray[np.bool_], studies: NDArray[np.int64], drawn: NDArray[np.float32], beyond: int = 0
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float32]]:
    """The measures of one ranking in each draw, and the number of relevant items in each draw; all of length draws.

    A measure is 0 if a draw has no relevant item. Copies of an item are neighbours in the ranking.

    Args:
        found: Whether each rank is relevant, bool [L].
        studies: The study at each rank, int [L].
        drawn: How often each draw contains each study, float32 [draws, studies].
        beyond: Relevant items past the end of the ranking.
    """
    copies = drawn[:, studies[found]]
    total = copies.sum(axis=1) + beyond
    values = _near_measures(found[:_NEAR], drawn[:, studies[:_NEAR]], total)
    rank = _items_before(found, np.take(drawn, studies, axis=1))
    so_far = np.cumsum(copies, axis=1) - copies
    if copies.shape[1]:
        first = np.take_along_axis(rank, (copies > 0).argmax(axis=1)[:, None], axis=1)[:, 0]
        values["RR"] = np.where(copies.any(axis=1), 1 / (first + 1.0), 0.0)
    else:
        values["RR"] = np.zeros(len(drawn))
    # For w copies at the ranks n+1 .. n+w, with r relevant items before them, the precisions add up to the sum over c of
    # (r + c) / (n + c) = w + (r - n) (H(n + w) - H(n)), H being the harmonic numbers.
    n = rank.astype(np.int64)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int((n + copies).max(initial=0)) + 1))])
    gained = harmonic[n + copies.astype(np.int64)] - harmonic[n]
    precisions = copies.sum(axis=1) + ((so_far - rank) * gained).sum(axis=1)
    values["AP"] = np.divide(precisions, total, out=np.zeros_like(precisions), where=total > 0)
    return values, total


def _near_measures(
    found: NDArray[np.bool_], times: NDArray[np.float32], total: NDArray[np.float32]
) -> dict[str, NDArray[np.float64]]:
    """The measures of the first ten ranks; `times` are the copies at each rank, float32 [draws, ranks]."""
    before = np.cumsum(times, axis=1) - times
    values: dict[str, NDArray[np.float64]] = {
        f"P@{k}": np.asarray((np.clip(k - before, 0, times) @ found) / k, dtype=np.float64) for k in (1, 5, 10)
    }
    values["Hit@10"] = (values["P@10"] > 0).astype(np.float64)
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, 12)))])
    start, end = np.clip(before, 0, 10).astype(int), np.clip(before + times, 0, 10).astype(int)
    ideal = gains[np.clip(total, 0, 10).astype(int)]
    values["nDCG@10"] = np.divide((gains[end] - gains[start]) @ found, ideal, out=np.zeros_like(ideal), where=ideal > 0)
    return values


def _items_before(found: NDArray[np.bool_], times: NDArray[np.float32]) -> NDArray[np.float32]:
    """The number of items before each relevant rank, float32 [draws, relevant], summed between relevant ranks."""
    ranks = np.flatnonzero(found)
    if len(ranks) == 0:
        return np.zeros((len(times), 0), dtype=np.float32)
    ahead = times[:, : ranks[0]].sum(axis=1, keepdims=True)
    stretches = np.add.reduceat(times, ranks, axis=1)[:, :-1]  # the last stretch ends at the end of the ranking
    return np.asarray(np.cumsum(np.hstack([ahead, stretches]), axis=1), dtype=np.float32)
