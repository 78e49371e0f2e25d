"""Sequential tests: values worked by hand, and error rates with simulated users."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.experiments.sequential import (
    ALPHA,
    preference_log_e,
    preference_result,
    proportion_interval,
    split_log_e,
    split_result,
)

SESSIONS = 2_000
EXPERIMENTS = 500


@pytest.mark.parametrize(
    ("wins", "losses", "e_value"),
    # 2^n w! l! / (n + 1)!
    [(0, 0, 1), (1, 0, 1), (2, 0, 4 / 3), (1, 1, 2 / 3), (5, 0, 32 / 6), (0, 5, 32 / 6), (3, 1, 16 * 6 / 120)],
)
def test_preference_e_values_are_those_worked_by_hand(wins: int, losses: int, e_value: float) -> None:
    assert preference_result(wins, losses).e_value == pytest.approx(e_value)


def test_preference_e_value_is_one_on_average_if_the_models_are_equal() -> None:
    for n in (1, 4, 9):
        mean = sum(math.comb(n, w) / 2**n * math.exp(float(preference_log_e(w, n - w))) for w in range(n + 1))
        assert mean == pytest.approx(1)


def test_without_data_there_is_no_winner() -> None:
    result = preference_result(0, 0)
    assert (result.e_value, result.estimate, result.interval, result.winner) == (1.0, None, (0.0, 1.0), None)
    result = split_result([], [], 0.5)
    assert (result.e_value, result.estimate, result.interval, result.winner) == (1.0, None, (-1.0, 1.0), None)


def test_eight_straight_wins_are_enough_and_seven_are_not() -> None:
    # 2^7 / 8 = 16 < 20 <= 2^8 / 9 = 28.4
    assert preference_result(7, 0).winner is None
    assert preference_result(8, 0).winner == "a"
    assert preference_result(0, 8).winner == "b"


def test_interval_of_straight_wins_is_the_one_worked_by_hand() -> None:
    # B(n + 1, 1) / p^n = 1 / alpha
    low, high = proportion_interval(8, 0)
    assert low == pytest.approx((ALPHA / 9) ** (1 / 8))
    assert high == 1.0
    assert proportion_interval(0, 8) == pytest.approx((0.0, 1 - (ALPHA / 9) ** (1 / 8)))


@pytest.mark.parametrize(("wins", "losses"), [(8, 0), (60, 40), (70, 30), (300, 250), (3, 2)])
def test_preference_interval_excludes_one_half_exactly_when_there_is_a_winner(wins: int, losses: int) -> None:
    result = preference_result(wins, losses)
    low, high = result.interval
    assert low < wins / (wins + losses) <= high
    assert (low > 0.5) == (result.winner == "a")


def test_split_e_values_are_those_worked_by_hand() -> None:
    # At the start both rates are 1/2, so the first session adds no evidence. Then the estimated rate of A is
    # (1 + 0.18) / (1 + 0.36), B with 1/2, and their mean at equal shares is (0.867647 + 0.5) / 2 = 0.683824.
    log_e = split_log_e([0, 0], [1, 1], 0.5)
    assert np.exp(log_e) == pytest.approx([1.0, 0.8676470588 / 0.6838235294])
    assert np.exp(split_log_e([0, 1], [1, 0], 0.5))[-1] == pytest.approx((1 - 0.5) / (1 - 0.6838235294))
    # With a quarter of the sessions for B: 0.75 * 0.867647 + 0.25 * 0.5
    assert np.exp(split_log_e([0, 1], [1, 1], 0.25))[-1] == pytest.approx(0.5 / 0.7757352941)


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_split_e_value_is_one_on_average_for_any_common_rate(share: float, rate: float) -> None:
    before = ([0, 1, 1, 0], [1, 0, 0, 1])
    start = split_log_e(*before, share)[-1]
    mean = sum(
        (share if arm else 1 - share)
        * (rate if success else 1 - rate)
        * math.exp(split_log_e([*before[0], arm], [*before[1], success], share)[-1] - start)
        for arm in (0, 1)
        for success in (0, 1)
    )
    assert mean == pytest.approx(1)


def preferences(rng: np.random.Generator, p: float, ties: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Wins of A and of B after each session, [count, SESSIONS]."""
    decided = rng.random((count, SESSIONS)) >= ties
    wins = decided & (rng.random((count, SESSIONS)) < p)
    return np.cumsum(wins, axis=1), np.cumsum(decided & ~wins, axis=1)


def test_interleaving_of_equal_models_has_a_winner_in_at_most_five_per_cent() -> None:
    wins, losses = preferences(np.random.default_rng(1), 0.5, 0.4, EXPERIMENTS)
    false = (preference_log_e(wins, losses).max(axis=1) >= math.log(1 / ALPHA)).mean()
    assert false <= ALPHA


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_a_split_of_equal_models_has_a_winner_in_at_most_five_per_cent(share: float, rate: float) -> None:
    rng = np.random.default_rng(2)
    is_b, success = rng.random((EXPERIMENTS, SESSIONS)) < share, rng.random((EXPERIMENTS, SESSIONS)) < rate
    assert (split_log_e(is_b, success, share).max(axis=1) >= math.log(1 / ALPHA)).mean() <= ALPHA


def test_intervals_contain_the_truth_at_all_times_in_95_of_100_experiments() -> None:
    rng = np.random.default_rng(3)
    wins = np.cumsum(rng.random((100, 300)) < 0.7, axis=1)
    missed = 0
    for row in wins:
        bounds = [proportion_interval(int(w), n - int(w)) for n, w in enumerate(row, start=1)]
        missed += any(not low <= 0.7 <= high for low, high in bounds)
    assert missed <= 5


@pytest.mark.parametrize("preferred", ["a", "b"])
def test_a_clear_preference_is_found_within_two_thousand_sessions(preferred: str) -> None:
    rng = np.random.default_rng(4)
    p = 0.6 if preferred == "a" else 0.4
    wins, losses = preferences(rng, p, 0.4, EXPERIMENTS)
    found = [preference_result(int(w), int(n)).winner for w, n in zip(wins[:, -1], losses[:, -1], strict=True)]
    assert found.count(preferred) >= 0.99 * EXPERIMENTS  # type: ignore[arg-type]
    is_b = rng.random((20, SESSIONS)) < 0.5
    success = rng.random((20, SESSIONS)) < np.where(is_b == (preferred == "b"), 0.55, 0.4)
    results = [split_result(arm, good, 0.5) for arm, good in zip(is_b, success, strict=True)]  # type: ignore[arg-type]
    assert sum(result.winner == preferred for result in results) >= 18
    assert not [result for result in results if result.winner not in (preferred, None)]
    assert all((result.estimate or 0.0) > 0 for result in results) == (preferred == "b")
