"""Measures against values calculated by hand, and against ir_measures as the slow reference."""

import math

import ir_measures
import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.measures import (
    chance_recall_at,
    first_relevant_ranks,
    recall_at,
    same_label,
)

# Three queries over four items. Ranked: query 0 -> 2 0 3 1, query 1 -> 0 1 2 3 (all tied), query 2 -> 3 2 1 0.
SIMILARITY = np.array([[0.5, 0.1, 0.9, 0.3], [0.2, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
RELEVANT = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=bool)


def test_rank_of_the_best_relevant_item_counts_from_one_and_is_zero_without_a_relevant_item() -> None:
    assert first_relevant_ranks(SIMILARITY, RELEVANT).tolist() == [2, 3, 0]


def test_ties_rank_in_the_order_of_the_gallery() -> None:
    tied = np.zeros((4, 4), dtype=np.float32)
    assert first_relevant_ranks(tied, np.eye(4, dtype=bool)).tolist() == [1, 2, 3, 4]


def test_recall_counts_only_queries_with_a_relevant_item() -> None:
    assert recall_at(SIMILARITY, RELEVANT, 1) == 0.0
    assert recall_at(SIMILARITY, RELEVANT, 2) == 0.5
    assert recall_at(SIMILARITY, RELEVANT, 3) == 1.0


def test_measures_without_any_relevant_item_are_nan() -> None:
    nothing = np.zeros((3, 4), dtype=bool)
    assert math.isnan(recall_at(SIMILARITY, nothing, 1))
    assert math.isnan(chance_recall_at(nothing, 1))


def test_chance_recall_is_that_of_drawing_without_replacement() -> None:
    # Query 0: 2 of 4 relevant, 2 drawn: 1 - (2 * 1) / (4 * 3) = 5/6. Query 1: 1 of 4, 2 drawn: 1/2.
    assert chance_recall_at(RELEVANT, 2) == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert chance_recall_at(RELEVANT, 9) == 1.0


def test_chance_recall_of_pairs_is_k_over_the_gallery() -> None:
    assert chance_recall_at(np.eye(364, dtype=bool), 10) == pytest.approx(10 / 364)


def test_grouped_relevance_counts_all_equal_reports() -> None:
    relevant = same_label(["x", "y"], ["y", "x", "x"])
    assert relevant.tolist() == [[False, True, True], [True, False, False]]


def test_matrices_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        recall_at(SIMILARITY, RELEVANT[:, :3], 1)


def test_measures_equal_ir_measures() -> None:
    rng = np.random.default_rng(7)
    similarity = rng.permutation(40 * 25).reshape(40, 25).astype(np.float32)
    relevant = rng.random((40, 25)) < 0.12
    for k in (1, 5, 10):
        assert recall_at(similarity, relevant, k) == pytest.approx(_reference(similarity, relevant, k))


def _reference(similarity: NDArray[np.float32], relevant: NDArray[np.bool_], k: int) -> float:
    qrels = [
        ir_measures.Qrel(str(query), str(item), 1)
        for query, row in enumerate(relevant)
        for item in np.flatnonzero(row).tolist()
    ]
    judged = {qrel.query_id for qrel in qrels}
    run = [
        ir_measures.ScoredDoc(str(query), str(item), float(score))
        for query, row in enumerate(similarity)
        for item, score in enumerate(row)
        if str(query) in judged
    ]
    success = ir_measures.Success @ k
    return float(ir_measures.calc_aggregate([success], qrels, run)[success])
