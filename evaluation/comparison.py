"""Evaluations side by side: refused where they do not compare, tested in pairs where they do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import bootstrap_test, holm, randomisation_test
from evaluation.results import Comparison, Evaluation, PairedTest, TaskResult
from evaluation.tasks import HEADLINES
from evaluation.verdict import judge_models
from retrieval.errors import InvalidRequest


def compare(evaluations: Sequence[Evaluation], *, fine_tuned: Sequence[str] = ()) -> Comparison:
    """The comparison of two or more models, of which those named `fine_tuned` were trained on such images.

    Raises:
        InvalidRequest: fewer than two, one twice, or evaluations of different protocols, data or versions of a measure.
    """
    require_comparable(evaluations)
    if unknown := sorted(set(fine_tuned) - {each.model for each in evaluations}):
        raise InvalidRequest(f"fine-tuned: {unknown[0]} is not compared here")
    tests = _paired_tests(evaluations)
    return Comparison(
        evaluations=list(evaluations), tests=tests, verdict=judge_models(evaluations, tests, fine_tuned=fine_tuned)
    )


def require_comparable(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations whose figures do not belong side by side.

    Raises:
        InvalidRequest: naming what differs.
    """
    names = [each.model for each in evaluations]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidRequest(f"a comparison needs two or more models, each once; found {', '.join(names) or 'none'}")
    first, *others = evaluations
    for other in others:
        for what in ("protocol", "data"):
            mine, theirs = getattr(first, what), getattr(other, what)
            if mine.fingerprint != theirs.fingerprint:
                raise InvalidRequest(
                    f"{first.model} and {other.model} do not compare: their {what} differs ({_difference(mine, theirs)})"
                )
        measured = [each.versions.get("ir-measures") for each in (first, other)]
        if measured[0] != measured[1]:
            raise InvalidRequest(
                f"{first.model} and {other.model} were measured by ir-measures {measured[0]} and {measured[1]}"
            )


def _difference(mine: msgspec.Struct, theirs: msgspec.Struct) -> str:
    left, right = msgspec.to_builtins(mine), msgspec.to_builtins(theirs)
    return "; ".join(f"{name}: {left[name]!r} and {right[name]!r}" for name in left if left[name] != right[name])


def _paired_tests(evaluations: Sequence[Evaluation]) -> list[PairedTest]:
    """Each pair of models on each headline measure that both have; p corrected for the number of all of them."""
    tests = []
    for one, other in combinations(evaluations, 2):
        for task, measure in HEADLINES.items():
            if found := _paired_test(one, other, task, measure):
                tests.append(found)
    corrected = holm([test.p for test in tests])
    return [msgspec.structs.replace(test, p_corrected=round(p, 6)) for test, p in zip(tests, corrected, strict=True)]


def _paired_test(one: Evaluation, other: Evaluation, task: str, measure: str) -> PairedTest | None:
    left, right = one.row(task), other.row(task)
    mine, theirs = one.estimate(task, measure), other.estimate(task, measure)
    if left is None or right is None or not mine or not theirs or mine.value is None or theirs.value is None:
        return None
    if left.units != right.units or len(left.draws) != len(right.draws):
        raise InvalidRequest(f"{one.model} and {other.model} were not asked the same queries in {task}")
    better, worse = one, other
    if theirs.value > mine.value:
        better, worse, left, right = other, one, right, left
    difference = abs(mine.value - theirs.value)
    if left.units:
        method: Literal["randomisation", "bootstrap"] = "randomisation"
        p, low, high = randomisation_test(np.array(left.values) - np.array(right.values), seed=one.protocol.seed)
    else:
        method = "bootstrap"
        # Every image is a query and in the gallery of others: exchanging studies one by one would take them for independent.
        p, low, high = bootstrap_test(difference, _array(left) - _array(right))
    return PairedTest(
        task=task,
        measure=measure,
        better=better.model,
        worse=worse.model,
        difference=round(difference, 6),
        low=round(low, 6),
        high=round(high, 6),
        method=method,
        p=round(p, 6),
        p_corrected=1.0,
    )


def _array(row: TaskResult) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in row.draws], dtype=np.float64)
