"""Chance levels against the average over all orders."""

from itertools import permutations

import numpy as np
import pytest

from evaluation.chance import expectation
from evaluation.scoring import measure_rankings


@pytest.mark.parametrize("measure", ["R@2", "Hit@3", "P@1", "P@5", "P@10", "RR", "AP", "nDCG@10", "nDCG@3"])
@pytest.mark.parametrize("relevant", [1, 2, 4, 6])
@pytest.mark.parametrize("depth", [3, 1000])
def test_the_expectation_is_the_mean_over_all_orders(measure: str, relevant: int, depth: int) -> None:
    size = 6
    orders = sorted(set(permutations([True] * relevant + [False] * (size - relevant))))
    rankings = [np.array(order[:depth]) for order in orders]
    values = measure_rankings([measure], rankings, [relevant] * len(rankings))[measure]
    assert expectation(measure, depth)(relevant, size) == pytest.approx(values.mean())


def test_a_pair_is_found_among_the_first_ten_of_a_gallery_with_that_probability() -> None:
    assert expectation("R@10", 1000)(1, 3851) == pytest.approx(10 / 3851)


def test_labels_of_a_common_finding_are_hit_by_chance_nearly_always() -> None:
    # FIELD.md, section 1: 1 - (1 - p)^10 for p = .36 is 98.8 %; a large gallery is as good as drawing with replacement.
    assert expectation("Hit@10", 1000)(36_000, 100_000) == pytest.approx(0.988, abs=5e-4)


def test_a_measure_without_a_known_chance_level_is_refused() -> None:
    with pytest.raises(ValueError, match="ERR"):
        expectation("ERR@5", 10)(1, 2)
