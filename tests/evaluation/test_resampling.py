"""Resampled galleries against rankings with all copies, measured by ir-measures."""

import numpy as np
import pytest

from evaluation.intervals import percentile_interval
from evaluation.resampling import MEASURES, label_draws, measure_draws
from evaluation.scoring import measure_rankings


def test_a_draw_equals_ir_measures_on_the_ranking_with_all_copies() -> None:
    rng = np.random.default_rng(3)
    for size in (1, 4, 12, 90):
        found = rng.random(size) < 0.3
        found[rng.integers(size)] = True
        times = rng.poisson(1.0, (60, size)).astype(np.float32)
        written_out = [np.repeat(found, row.astype(int)) for row in times]
        has_any = np.array([bool(each.any()) for each in written_out])
        expected = measure_rankings(
            MEASURES,
            [each for each in written_out if each.any()],
            [int(each.sum()) for each in written_out if each.any()],
        )
        values, total = measure_draws(found, np.arange(size), times)
        assert total.tolist() == [each.sum() for each in written_out]
        for name in MEASURES:
            assert values[name][has_any] == pytest.approx(expected[name], abs=1e-6), (name, size)
            assert not values[name][~has_any].any()


def test_relevant_items_past_the_end_of_a_ranking_lower_its_precision() -> None:
    # Ranks 1 and 3 of a ranking cut at 3; a third relevant item lies beyond: (1/1 + 2/3) / 3.
    values, total = measure_draws(
        np.array([True, False, True]), np.arange(3), np.ones((1, 3), dtype=np.float32), beyond=1
    )
    assert total[0] == 3
    assert values["AP"][0] == pytest.approx((1 + 2 / 3) / 3)


def test_draws_vary_with_both_the_queries_and_the_gallery() -> None:
    # Every ranking is the same, so queries alone would give no interval at all.
    found, order = np.array([True, False] * 5), np.arange(10)
    studies = [f"s{n}" for n in range(10)]
    draws = label_draws([found] * 10, [order] * 10, [5] * 10, ["a"] * 10, studies, studies, resamples=300, seed=0)
    low, high = percentile_interval(draws("P@5", ["a"]))
    assert low < 0.6 < high
    assert np.isnan(draws("P@5", [])).all()


def test_images_of_one_study_are_drawn_together() -> None:
    # Ranks: study 0, 1, 0; relevant are the two images of study 0. Drawn twice each: 0 0 1 1 0 0.
    values, total = measure_draws(
        np.array([True, False, True]), np.array([0, 1, 0]), np.full((1, 2), 2, dtype=np.float32)
    )
    assert total[0] == 4
    assert values["AP"][0] == pytest.approx((1 + 1 + 3 / 5 + 4 / 6) / 4)
    assert values["P@5"][0] == pytest.approx(3 / 5)
