"""Comparison of evaluations: refuses those that are not comparable, and tests differences in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import msgspec
import numpy as np

from evaluation.intervals import bootstrap_test, draws_array, holm, randomisation_test
from evaluation.results import Comparison, Evaluation, PairedTest
from evaluation.tasks import HEADLINES
from evaluation.verdict import judge_models
from retrieval.errors import InvalidRequest


def compare(evaluations: Sequence[Evaluation], *, fine_tuned: Sequence[str] = ()) -> Comparison:
    """The comparison of two or more models; those named in `fine_tuned` were trained on images of this kind.

    Raises:
        InvalidRequest: fewer than two models, one model twice, or different protocols, data or versions of ir-measures.
    """
    require_comparable(evaluations)
    if unknown := sorted(set(fine_tuned) - {each.model for each in evaluations}):
        raise InvalidRequest(f"--fine-tuned: {unknown[0]} is not one of the compared models")
    tests = _paired_tests(evaluations)
    return Comparison(
        evaluations=list(evaluations), tests=tests, verdict=judge_models(evaluations, tests, fine_tuned=fine_tuned)
    )


def require_comparable(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations whose figures are not comparable.

    Raises:
        InvalidRequest: the message names the difference.
    """
    names = [each.model for each in evaluations]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidRequest(f"a comparison needs two or more models, each once; found {', '.join(names) or 'none'}")
    first, *others = evaluations
    for other in others:
        for name in ("protocol", "data"):
            mine, theirs = getattr(first, name), getattr(other, name)
            if mine.fingerprint != theirs.fingerprint:
                raise InvalidRequest(
                    f"{first.model} and {other.model} are not comparable: their {name} differs ({_difference(mine, theirs)})"
                )
        used = [each.versions.get("ir-measures") for each in (first, other)]
        if used[0] != used[1]:
            raise InvalidRequest(
                f"{first.model} and {other.model} were measured with ir-measures {used[0]} and {used[1]}; use one version"
            )


def _difference(mine: msgspec.Struct, theirs: msgspec.Struct) -> str:
    left, right = msgspec.to_builtins(mine), msgspec.to_builtins(theirs)
    return "; ".join(f"{name}: {left[name]!r} and {right[name]!r}" for name in left if left[name] != right[name])


def _paired_tests(evaluations: Sequence[Evaluation]) -> list[PairedTest]:
    """One test for each pair of models and headline measure, with p corrected for their number."""
    tests = []
    for one, other in combinations(evaluations, 2):
        for task, measure in HEADLINES.items():
            if test := _paired_test(one, other, task, measure):
                tests.append(test)
    corrected = holm([test.p for test in tests])
    return [msgspec.structs.replace(test, p_corrected=round(p, 6)) for test, p in zip(tests, corrected, strict=True)]


def _paired_test(one: Evaluation, other: Evaluation, task: str, measure: str) -> PairedTest | None:
    left, right = one.row(task), other.row(task)
    mine, theirs = one.estimate(task, measure), other.estimate(task, measure)
    if left is None or right is None or not mine or not theirs or mine.value is None or theirs.value is None:
        return None
    if left.units != right.units or len(left.draws) != len(right.draws):
        raise InvalidRequest(f"{one.model} and {other.model} have different queries in {task}")
    better, worse = one, other
    if theirs.value > mine.value:
        better, worse, left, right = other, one, right, left
    difference = abs(mine.value - theirs.value)
    if left.units:
        method: Literal["randomisation", "bootstrap"] = "randomisation"
        p, low, high = randomisation_test(np.array(left.values) - np.array(right.values), seed=one.protocol.seed)
    else:
        method = "bootstrap"
        # No randomisation of studies: each image is a query and in the gallery of others, so studies are not independent.
        p, low, high = bootstrap_test(difference, draws_array(left.draws) - draws_array(right.draws))
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
