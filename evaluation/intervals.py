"""Uncertainty: bootstrap intervals by study, paired tests, and Holm's correction for multiple comparisons."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_BLOCK = 500


def macro_mean(values: NDArray[np.float64], findings: Sequence[Hashable]) -> float:
    """Mean of the means within each finding; NaN without values."""
    groups = _codes(findings)
    if len(values) == 0:
        return float("nan")
    return float((np.bincount(groups, values) / np.bincount(groups)).mean())


def bootstrap_interval(
    values: NDArray[np.float64],
    studies: Sequence[Hashable],
    findings: Sequence[Hashable],
    *,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Percentile interval of `macro_mean` when whole studies are resampled with replacement.

    Queries of one study are not independent, so studies are resampled, not queries. A resample ignores findings that it
    does not contain.
    """
    if len(values) == 0:
        return float("nan"), float("nan")
    study, finding = _codes(studies), _codes(findings)
    shape = (finding.max() + 1, study.max() + 1)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (finding, study), values)
    np.add.at(counts, (finding, study), 1)
    rng = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        weights = rng.multinomial(shape[1], np.full(shape[1], 1 / shape[1]), size=size).astype(np.float64)
        total, held = weights @ sums.T, weights @ counts.T
        means = np.divide(total, held, out=np.full_like(total, np.nan), where=held > 0)
        known = ~np.isnan(means).all(axis=1)
        drawn.append(np.nanmean(means[known], axis=1))
    return percentile_interval(np.concatenate(drawn))


def contributions(
    values: NDArray[np.float64], studies: Sequence[Hashable], findings: Sequence[Hashable]
) -> dict[Hashable, float]:
    """The contribution of each study to `macro_mean`; they add up to it."""
    finding = _codes(findings)
    share = values / np.bincount(finding)[finding] / (finding.max() + 1) if len(values) else values
    found: dict[Hashable, float] = {}
    for study, part in zip(studies, share, strict=True):
        found[study] = found.get(study, 0.0) + float(part)
    return found


def randomisation_test(
    differences: NDArray[np.float64], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Two-sided p and 95 % interval of the sum of `differences`, one value per study.

    p comes from the paired randomisation test (Smucker, Allan and Carterette, CIKM 2007), which exchanges whole studies
    between the two systems. The interval comes from the paired bootstrap, which resamples studies with the values of both.
    """
    if len(differences) == 0:
        return 1.0, float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum())
    extreme, sums = 0, []
    count = len(differences)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        signs = rng.integers(0, 2, size=(size, count)) * 2 - 1
        # The tolerance keeps a rounding error from excluding the observed value itself.
        extreme += int((np.abs(signs @ differences) >= observed - 1e-12).sum())
        sums.append(differences[rng.integers(0, count, size=(size, count))].sum(axis=1))
    low, high = percentile_interval(np.concatenate(sums))
    return (extreme + 1) / (resamples + 1), low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values in the same order, corrected for multiple tests (Holm, Scandinavian Journal of Statistics 1979)."""
    count = len(p_values)
    order = sorted(range(count), key=lambda number: p_values[number])
    corrected = [1.0] * count
    highest = 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (count - place) * p_values[number]))
        corrected[number] = highest
    return corrected


def percentile_interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of the middle 95 % of `draws`, ignoring NaN."""
    known = draws[~np.isnan(draws)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def bootstrap_test(difference: float, draws: NDArray[np.float64]) -> tuple[float, float, float]:
    """Two-sided p of a difference, and the 95 % interval of its paired `draws`.

    p uses the normal approximation with the standard deviation of the draws as standard error. It needs fewer draws for
    small p values than counting draws would.
    """
    low, high = percentile_interval(draws)
    spread = float(np.nanstd(draws, ddof=1)) if (~np.isnan(draws)).sum() > 1 else 0.0
    if spread == 0:
        return (1.0 if difference == 0 else 0.0), low, high
    return erfc(abs(difference) / spread / sqrt(2)), low, high


def _codes(labels: Sequence[Hashable]) -> NDArray[np.int64]:
    known = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    return np.array([known[label] for label in labels], dtype=np.int64)


def draws_array(draws: Sequence[float | None]) -> NDArray[np.float64]:
    """Values of a measure by resample as an array; NaN for None."""
    return np.array([np.nan if value is None else value for value in draws], dtype=np.float64)
