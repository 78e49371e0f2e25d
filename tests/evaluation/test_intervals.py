"""Intervals, tests and corrections against values calculated by hand."""

import numpy as np
import pytest

from evaluation.intervals import (
    bootstrap_interval,
    bootstrap_test,
    contributions,
    holm,
    macro_mean,
    percentile_interval,
    randomisation_test,
)

VALUES = np.array([1.0, 0.0, 1.0, 0.5])
FINDINGS = ["effusion", "effusion", "nodule", "nodule"]
STUDIES = ["a", "b", "a", "c"]


def test_the_macro_mean_averages_within_a_finding_first() -> None:
    # Effusion (1 + 0) / 2, nodule (1 + .5) / 2.
    assert macro_mean(VALUES, FINDINGS) == 0.625
    assert np.isnan(macro_mean(np.array([]), []))


def test_contributions_of_studies_add_up_to_the_macro_mean() -> None:
    parts = contributions(VALUES, STUDIES, FINDINGS)
    # a: 1/2/2 + 1/2/2, b: 0, c: .5/2/2.
    assert parts == {"a": 0.5, "b": 0.0, "c": 0.125}
    assert sum(parts.values()) == macro_mean(VALUES, FINDINGS)


def test_an_interval_contains_the_mean_and_one_value_has_no_spread() -> None:
    low, high = bootstrap_interval(VALUES, STUDIES, FINDINGS, resamples=500, seed=0)
    assert low < 0.625 < high
    assert bootstrap_interval(np.full(9, 0.3), list(range(9)), [""] * 9, resamples=100, seed=0) == pytest.approx(
        (0.3, 0.3)
    )


def test_queries_of_one_study_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    values = (rng.random(40) < 0.5).astype(float)
    alone = bootstrap_interval(values, list(range(40)), [""] * 40, resamples=2000, seed=0)
    copied = bootstrap_interval(
        np.repeat(values, 5), list(np.repeat(np.arange(40), 5)), [""] * 200, resamples=2000, seed=0
    )
    assert copied == pytest.approx(alone)


def test_the_interval_of_a_share_is_about_that_of_the_normal_approximation() -> None:
    values = np.array([1.0] * 120 + [0.0] * 280)
    low, high = bootstrap_interval(values, list(range(400)), [""] * 400, resamples=4000, seed=0)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.005)


def test_randomisation_gives_the_share_of_sign_patterns_that_are_as_extreme() -> None:
    # Of the 2^6 patterns of six equal differences only two, all plus and all minus, are as extreme: 1/32.
    p, low, high = randomisation_test(np.full(6, 0.1), resamples=20_000)
    assert p == pytest.approx(1 / 32, abs=0.004)
    assert (low, high) == pytest.approx((0.6, 0.6))


def test_equal_systems_do_not_differ() -> None:
    assert randomisation_test(np.zeros(50), resamples=500)[0] == 1.0
    assert randomisation_test(np.array([]))[0] == 1.0


def test_randomisation_rejects_a_true_null_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    rejected = [randomisation_test(rng.standard_normal(30), resamples=500)[0] < 0.05 for _ in range(300)]
    assert 0.02 < np.mean(rejected) < 0.09


def test_holm_multiplies_by_the_number_of_remaining_hypotheses_and_never_decreases() -> None:
    # Sorted: .01 * 4, .02 * 3, .03 * 2 = .06, and .04 * 1 is lifted to .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_difference_of_two_standard_errors_has_the_p_of_the_normal_distribution() -> None:
    draws = np.array([0.1, 0.2, 0.3, np.nan])  # standard deviation .1
    assert bootstrap_test(0.196, draws)[0] == pytest.approx(0.05, abs=1e-3)
    assert bootstrap_test(0.0, np.zeros(5))[0] == 1.0
    assert bootstrap_test(0.1, np.full(5, 0.1))[0] == 0.0
    assert all(np.isnan(percentile_interval(np.array([np.nan]))))
