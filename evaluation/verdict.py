"""The verdict: the recommended model for each use, as far as the intervals support one."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.results import Estimate, Evaluation, PairedTest

PRIMARY = ("image_to_image", "P@10")
"""The deciding measure: the share of ten similar images with the finding, macro over abnormal findings."""
_PRIMARY_WORDS = "P@10 from image to image, macro over abnormal findings"
_SECOND = ("image_to_report_strict", "R@10")
_SECOND_WORDS = "R@10 from image to report, exact pair"


def judge_models(
    evaluations: Sequence[Evaluation], tests: Sequence[PairedTest], *, fine_tuned: Sequence[str] = ()
) -> list[str]:
    """The verdict, one or two sentences for each use: accuracy, pairs, speed, balance, training, chance, baselines.

    `fine_tuned` names the models that were trained on images of this kind; a bundle does not record it.
    """
    measured = [each for each in evaluations if _value(each, PRIMARY) is not None]
    if not measured:
        return ["No finding has enough studies to evaluate similarity, so no model is recommended."]
    ranked = sorted(measured, key=lambda each: -(_value(each, PRIMARY) or 0.0))
    best = ranked[0]
    equals = [each for each in ranked if each is best or not _is_shown(tests, PRIMARY, best, each)]
    lines = [_accuracy(best, ranked, equals, tests)]
    if (pairs := _pairs(evaluations, tests)) is not None:
        lines.append(pairs)
    lines += _speed(evaluations, best, equals)
    lines += _fine_tuned(ranked, tests, fine_tuned)
    lines += _against_chance(evaluations)
    lines += _against_baselines(best)
    return lines


def _accuracy(
    best: Evaluation, ranked: Sequence[Evaluation], equals: Sequence[Evaluation], tests: Sequence[PairedTest]
) -> str:
    others = [each for each in equals if each is not best]
    if len(ranked) == 1:
        return f"Only {best.model} has a result in {_PRIMARY_WORDS}: {_shown(best, PRIMARY)}."
    if others:
        names = ", ".join(each.model for each in others)
        return (
            f"Best accuracy: no difference shown between {best.model} ({_shown(best, PRIMARY)}) and {names} "
            f"({', '.join(_shown(each, PRIMARY) for each in others)}) in {_PRIMARY_WORDS}; "
            f"closest pair: {_p(tests, PRIMARY, best, others[0])}."
        )
    second = ranked[1]
    return (
        f"Best accuracy: {best.model}, with {_shown(best, PRIMARY)} in {_PRIMARY_WORDS}; next: {second.model} with "
        f"{_shown(second, PRIMARY)} ({_p(tests, PRIMARY, best, second)})."
    )


def _pairs(evaluations: Sequence[Evaluation], tests: Sequence[PairedTest]) -> str | None:
    paired = sorted(
        (each for each in evaluations if _value(each, _SECOND) is not None),
        key=lambda each: -(_value(each, _SECOND) or 0),
    )
    if len(paired) < 2:
        return None
    best, second = paired[:2]
    if _is_shown(tests, _SECOND, best, second):
        text = f"{best.model} ({_shown(best, _SECOND)}) is better than {second.model} ({_shown(second, _SECOND)})"
    else:
        text = (
            f"no difference shown between {best.model} ({_shown(best, _SECOND)}) and "
            f"{second.model} ({_shown(second, _SECOND)})"
        )
    return f"Finding the report of an image: {text} in {_SECOND_WORDS}; {_p(tests, _SECOND, best, second)}."


def _speed(evaluations: Sequence[Evaluation], best: Evaluation, equals: Sequence[Evaluation]) -> list[str]:
    timed = sorted(
        (each for each in evaluations if _query_ms(each)), key=lambda each: (_query_ms(each) or (0.0, 0.0))[0]
    )
    if len(timed) < 2:
        return []
    fastest, second = timed[:2]
    times = ", ".join(f"{each.model} {_shown_ms(each)}" for each in timed)
    text = (
        fastest.model
        if _is_faster(fastest, second)
        else f"no difference shown between {fastest.model} and {second.model}"
    )
    lines = [f"Fastest: {text}; time from image to hits, median / 95th percentile on this machine: {times}."]
    faster = [each for each in timed if _is_faster(each, best)]
    quick = next((each for each in faster if each in equals), None)
    if quick:
        lines.append(
            f"Balanced: {quick.model}, the fastest model that is not shown to be less accurate than {best.model}."
        )
    elif faster:
        lines.append(f"Balanced: {best.model}; the faster models are shown to be less accurate.")
    else:
        lines.append(f"Balanced: {best.model}; no other model is shown to be faster.")
    return lines


def _fine_tuned(ranked: Sequence[Evaluation], tests: Sequence[PairedTest], names: Sequence[str]) -> list[str]:
    """The gain of the best fine-tuned model over the best other model."""
    trained = [each for each in ranked if each.model in names]
    others = [each for each in ranked if each.model not in names]
    if not trained:
        return []
    best = trained[0]
    lines = []
    if others:
        other = others[0]
        text = f"{best.model} ({_shown(best, PRIMARY)}) against {other.model} ({_shown(other, PRIMARY)})"
        if not _is_shown(tests, PRIMARY, best, other):
            outcome = "no difference shown"
        else:
            better = (_value(best, PRIMARY) or 0) > (_value(other, PRIMARY) or 0)
            outcome = "fine-tuning helped" if better else "fine-tuning made it worse"
        lines.append(f"Fine-tuned: {text}: {outcome}; {_p(tests, PRIMARY, best, other)}.")
    if best.protocol.split is None:
        lines.append(
            f"{', '.join(each.model for each in trained)} may have been trained on studies that are evaluated here. "
            "Name a held-out split with --split; otherwise these results are too optimistic."
        )
    return lines


def _against_chance(evaluations: Sequence[Evaluation]) -> list[str]:
    lines = []
    for each in evaluations:
        found = each.estimate(*PRIMARY)
        if found and found.low is not None and found.chance is not None and found.low <= found.chance:
            lines.append(
                f"{each.model} is not shown to be better than chance ({found.chance:.3f}) in {_PRIMARY_WORDS}; "
                "train it on images of this kind, or do not use it for them."
            )
    return lines


def _against_baselines(best: Evaluation) -> list[str]:
    own = best.estimate(*PRIMARY)
    lines = []
    for row in best.results:
        baseline = row.measures.get(PRIMARY[1])
        if row.task != PRIMARY[0] or row.system.startswith(best.model) or not (own and baseline):
            continue
        if None not in (baseline.low, own.high) and (baseline.low or 0) > (own.high or 0):
            marks = f" ({'; '.join(row.marks)})" if row.marks else ""
            lines.append(
                f"If a report is available, {row.system} is better than {best.model}: {baseline.value:.3f}{marks}."
            )
    return lines


def _value(evaluation: Evaluation, headline: tuple[str, str]) -> float | None:
    found = evaluation.estimate(*headline)
    return found.value if found else None


def _query_ms(evaluation: Evaluation) -> tuple[float, float] | None:
    """Median and 95th percentile of the milliseconds from image to hits, encoding and search."""
    cost = evaluation.resources
    if cost is None or cost.encode_image is None or cost.query is None:
        return None
    return cost.encode_image.p50_ms + cost.query.p50_ms, cost.encode_image.p95_ms + cost.query.p95_ms


def _is_faster(one: Evaluation, other: Evaluation) -> bool:
    """Whether the 95th percentile of one is below the median of the other."""
    first, second = _query_ms(one), _query_ms(other)
    return first is not None and second is not None and first[1] < second[0]


def _shown_ms(evaluation: Evaluation) -> str:
    p50, p95 = _query_ms(evaluation) or (0.0, 0.0)
    return f"{p50:.1f} / {p95:.1f} ms"


def _is_shown(tests: Sequence[PairedTest], headline: tuple[str, str], one: Evaluation, other: Evaluation) -> bool:
    found = _test(tests, headline, one, other)
    return found is not None and found.is_shown


def _test(
    tests: Sequence[PairedTest], headline: tuple[str, str], one: Evaluation, other: Evaluation
) -> PairedTest | None:
    pair = {one.model, other.model}
    return next(
        (test for test in tests if (test.task, test.measure) == headline and {test.better, test.worse} == pair), None
    )


def _p(tests: Sequence[PairedTest], headline: tuple[str, str], one: Evaluation, other: Evaluation) -> str:
    found = _test(tests, headline, one, other)
    if found is None:
        return "not tested"
    return (
        f"difference {found.difference:.3f} ({found.low:.3f} to {found.high:.3f}), {format_p(found.p_corrected)} "
        f"after correction for {len(tests)} comparisons"
    )


def _shown(evaluation: Evaluation, headline: tuple[str, str]) -> str:
    found = evaluation.estimate(*headline)
    assert found is not None
    return format_estimate(found)


def format_estimate(found: Estimate) -> str:
    """A value with its interval, such as `0.512 [0.480, 0.543]`."""
    if found.value is None:
        return "–"
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def format_p(p: float) -> str:
    """A p value, such as `p = 0.0312` or `p < 0.0001`."""
    return f"p = {p:.4f}" if p >= 0.0001 else "p < 0.0001"
