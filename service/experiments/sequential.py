"""Sequential tests of two models: valid however often they are read, and whenever the experiment is stopped.

An e-value measures evidence against "the models are equal". It starts at 1 and, if the models are equal, does not grow
on average. So the probability that it ever reaches 1 / alpha is at most alpha (Ville 1939), however often one looks.

Interleaved searches are tested by a beta-binomial mixture (Robbins 1970). Success rates of a split are tested by the
two-sample e-process of Turner, Ly and Gruenwald, "Generic e-variables for exact sequential k-sample tests that allow
for optional stopping" (Journal of Statistical Planning and Inference, 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
"""Error rate of the tests."""

Arrays = NDArray[np.float64]
# Pseudo-counts of successes and of failures at the start; section 3.1 of Turner, Ly and Gruenwald.
_PRIOR = 0.18
# exp() of more is infinite, which JSON cannot represent.
_LOG_E_MAX = 700.0
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class SequentialResult:
    """Result of a test so far.

    `estimate`: for interleaving the share of decided searches that A won, for a split the success rate of B minus that
    of A. `interval` contains the true value at all times simultaneously, with a probability of at least 1 - alpha.
    """

    e_value: float
    estimate: float | None
    interval: tuple[float, float]
    winner: Literal["a", "b"] | None


def preference_log_e(wins: ArrayLike, losses: ArrayLike) -> Arrays:
    """Log of the e-value against "a win is as likely as a loss", for counts of one shape; ties are left out.

    With a uniform prior on the probability of a win it is 2^n B(wins + 1, losses + 1), n = wins + losses.
    """
    won, lost = np.asarray(wins, dtype=np.int64), np.asarray(losses, dtype=np.int64)
    counts = won + lost
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, counts.max(initial=0) + 2)))])
    log_e: Arrays = counts * math.log(2) + factorials[won] + factorials[lost] - factorials[counts + 1]
    return log_e


def split_log_e(is_b: ArrayLike, succeeded: ArrayLike, share_b: float) -> Arrays:
    """Log of the e-value against "A and B succeed equally often", after each session along the last axis.

    The published e-variable for blocks of one session. B is drawn with probability `share_b` (0..1, exclusive). The
    estimate for a session uses only the sessions before it.
    """
    arm, success = np.asarray(is_b, dtype=np.float64), np.asarray(succeeded, dtype=np.float64)
    rate_a, rate_b = _rates_before(1 - arm, success), _rates_before(arm, success)
    mean = share_b * rate_b + (1 - share_b) * rate_a
    rate = np.where(arm == 1, rate_b, rate_a)
    gains = np.where(success == 1, np.log(rate / mean), np.log((1 - rate) / (1 - mean)))
    log_e: Arrays = np.cumsum(gains, axis=-1)
    return log_e


def preference_result(wins_a: int, wins_b: int, alpha: float = ALPHA) -> SequentialResult:
    """Test result of interleaving, from the numbers of searches that A and B won."""
    log_e = float(preference_log_e(wins_a, wins_b))
    decided = wins_a + wins_b
    return SequentialResult(
        e_value=_exp(log_e),
        estimate=wins_a / decided if decided else None,
        interval=proportion_interval(wins_a, wins_b, alpha),
        winner=_winner(log_e, wins_a - wins_b, alpha),
    )


def split_result(
    is_b: Sequence[bool], succeeded: Sequence[bool], share_b: float, alpha: float = ALPHA
) -> SequentialResult:
    """Test result of a split: for each session, in order of their starts, whether B answered and whether it succeeded.

    The interval of the difference combines one interval per rate, each at alpha / 2. It may contain zero a little longer
    than the e-value needs to reach 1 / alpha.
    """
    arm, success = np.asarray(is_b, dtype=bool), np.asarray(succeeded, dtype=bool)
    good_a, good_b = int((success & ~arm).sum()), int((success & arm).sum())
    bad_a, bad_b = int((~success & ~arm).sum()), int((~success & arm).sum())
    low_a, high_a = proportion_interval(good_a, bad_a, alpha / 2)
    low_b, high_b = proportion_interval(good_b, bad_b, alpha / 2)
    seen = bool(good_a + bad_a and good_b + bad_b)
    difference = good_b / (good_b + bad_b) - good_a / (good_a + bad_a) if seen else None
    log_e = float(split_log_e(arm, success, share_b)[-1]) if len(arm) else 0.0
    return SequentialResult(
        e_value=_exp(log_e),
        estimate=difference,
        interval=(low_b - high_a, high_b - low_a),
        winner=_winner(log_e, -(difference or 0.0), alpha),
    )


def proportion_interval(successes: int, failures: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Confidence interval of a probability, 0..1: all values whose e-value, a beta-binomial mixture, is below 1 / alpha."""
    count = successes + failures
    if not count:
        return 0.0, 1.0
    log_mixture = float(preference_log_e(successes, failures)) - count * math.log(2)

    def refused(p: float) -> bool:
        return log_mixture - _log_likelihood(successes, failures, p) >= math.log(1 / alpha)

    centre = successes / count
    return _edge(centre, 0.0, refused), _edge(centre, 1.0, refused)


def _edge(inside: float, outside: float, refused: Callable[[float], bool]) -> float:
    if not refused(outside):
        return outside
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if refused(middle) else (middle, outside)
    return (inside + outside) / 2


def _log_likelihood(successes: int, failures: int, p: float) -> float:
    parts = ((successes, p), (failures, 1 - p))
    if any(count and not probability for count, probability in parts):
        return -math.inf
    return sum(count * math.log(probability) for count, probability in parts if count)


def _rates_before(of_arm: Arrays, success: Arrays) -> Arrays:
    """Estimated success rate of an arm before each session."""
    good, count = of_arm * success, of_arm
    rates: Arrays = (np.cumsum(good, axis=-1) - good + _PRIOR) / (np.cumsum(count, axis=-1) - count + 2 * _PRIOR)
    return rates


def _winner(log_e: float, lead_of_a: float, alpha: float) -> Literal["a", "b"] | None:
    if log_e < math.log(1 / alpha) or not lead_of_a:
        return None
    return "a" if lead_of_a > 0 else "b"


def _exp(log_e: float) -> float:
    return math.exp(min(log_e, _LOG_E_MAX))
