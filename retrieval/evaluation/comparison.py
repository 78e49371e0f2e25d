"""Evaluations side by side: refused where they do not compare, tested in pairs where they do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import msgspec
import numpy as np

from retrieval.errors import InvalidRequest
from retrieval.evaluation.intervals import holm, randomisation_test
from retrieval.evaluation.records import Comparison, Evaluation, PairedTest
from retrieval.evaluation.tasks import HEADLINES
from retrieval.evaluation.verdict import judge_models


def compare(evaluations: Sequence[Evaluation]) -> Comparison:
    """The comparison of two or more models.

    Raises:
        InvalidRequest: fewer than two, one twice, or evaluations of different protocols, data or versions of a measure.
    """
    require_comparable(evaluations)
    tests = _paired_tests(evaluations)
    return Comparison(evaluations=list(evaluations), tests=tests, verdict=judge_models(evaluations, tests))


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
    if left is None or right is None or not left.values.get(measure) or not right.values.get(measure):
        return None
    if left.units != right.units:
        raise InvalidRequest(f"{one.model} and {other.model} were not asked the same queries in {task}")
    better, worse = (one, other) if sum(left.values[measure]) >= sum(right.values[measure]) else (other, one)
    if better is other:
        left, right = right, left
    differences = np.array(left.values[measure]) - np.array(right.values[measure])
    p, low, high = randomisation_test(differences, seed=one.protocol.seed)
    return PairedTest(
        task=task,
        measure=measure,
        better=better.model,
        worse=worse.model,
        difference=round(float(differences.sum()), 6),
        low=round(low, 6),
        high=round(high, 6),
        units=len(differences),
        p=round(p, 6),
        p_corrected=1.0,
    )
