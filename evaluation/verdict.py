"""Which model for which use: sentences that the figures and their intervals support, and no others."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.results import Estimate, Evaluation, PairedTest

PRIMARY = ("image_to_image", "P@10")
"""What decides: of ten similar images, how many share the finding, macro over abnormal findings (FIELD.md, section 4)."""
_PRIMARY_WORDS = "P@10 from image to image, macro over abnormal findings"
_SECOND = ("image_to_report_strict", "R@10")
_SECOND_WORDS = "R@10 from image to report, exact pair"


def judge_models(
    evaluations: Sequence[Evaluation], tests: Sequence[PairedTest], *, fine_tuned: Sequence[str] = ()
) -> list[str]:
    """The verdict, a sentence or two for each use: best accuracy, pairs, fastest, balanced, fine-tuned, against chance.

    `fine_tuned` names the models that were trained on such images; a bundle does not know.
    """
    measured = [each for each in evaluations if _value(each, PRIMARY) is not None]
    if not measured:
        return ["No finding is held by enough studies to judge likeness, so no model is recommended."]
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
        return f"Only {best.model} could be judged by {_PRIMARY_WORDS}: {_shown(best, PRIMARY)}."
    if others:
        names = ", ".join(each.model for each in others)
        return (
            f"Best accuracy: no difference shown between {best.model} ({_shown(best, PRIMARY)}) and {names} "
            f"({', '.join(_shown(each, PRIMARY) for each in others)}) in {_PRIMARY_WORDS}; "
            f"{_p(tests, PRIMARY, best, others[0])} for the nearest."
        )
    second = ranked[1]
    return (
        f"Best accuracy: {best.model}, with {_shown(best, PRIMARY)} in {_PRIMARY_WORDS}; the next is {second.model} with "
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
        told = f"{best.model} ({_shown(best, _SECOND)}) before {second.model} ({_shown(second, _SECOND)})"
    else:
        told = (
            f"no difference shown between {best.model} ({_shown(best, _SECOND)}) and "
            f"{second.model} ({_shown(second, _SECOND)})"
        )
    return f"Finding the report of an image: {told} in {_SECOND_WORDS}; {_p(tests, _SECOND, best, second)}."


def _speed(evaluations: Sequence[Evaluation], best: Evaluation, equals: Sequence[Evaluation]) -> list[str]:
    timed = sorted(
        (each for each in evaluations if _query_ms(each)), key=lambda each: (_query_ms(each) or (0.0, 0.0))[0]
    )
    if len(timed) < 2:
        return []
    fastest, second = timed[:2]
    times = ", ".join(f"{each.model} {_shown_ms(each)}" for each in timed)
    told = (
        fastest.model
        if _is_faster(fastest, second)
        else f"no difference shown between {fastest.model} and {second.model}"
    )
    lines = [f"Fastest: {told}; from image to hits, median and 95th percentile on this machine: {times}."]
    faster = [each for each in timed if _is_faster(each, best)]
    quick = next((each for each in faster if each in equals), None)
    if quick:
        lines.append(f"Balanced: {quick.model}, the fastest of those not shown to be less accurate than {best.model}.")
    elif faster:
        lines.append(f"Balanced: {best.model}; every model shown to be faster is shown to be less accurate.")
    else:
        lines.append(f"Balanced: {best.model}; no model is shown to be faster than it.")
    return lines


def _fine_tuned(ranked: Sequence[Evaluation], tests: Sequence[PairedTest], names: Sequence[str]) -> list[str]:
    """What training on such images has brought over the best model that was not."""
    trained = [each for each in ranked if each.model in names]
    others = [each for each in ranked if each.model not in names]
    if not trained:
        return []
    best = trained[0]
    lines = []
    if others:
        other = others[0]
        told = f"{best.model} ({_shown(best, PRIMARY)}) against {other.model} ({_shown(other, PRIMARY)})"
        if not _is_shown(tests, PRIMARY, best, other):
            outcome = "no difference shown"
        else:
            better = (_value(best, PRIMARY) or 0) > (_value(other, PRIMARY) or 0)
            outcome = "training has paid" if better else "training has cost"
        lines.append(f"Fine-tuned: {told}: {outcome}; {_p(tests, PRIMARY, best, other)}.")
    if best.protocol.split is None:
        lines.append(
            f"{', '.join(each.model for each in trained)} may have been trained on studies that are judged here: "
            "name a split that was held out (--split), or these figures flatter."
        )
    return lines


def _against_chance(evaluations: Sequence[Evaluation]) -> list[str]:
    lines = []
    for each in evaluations:
        found = each.estimate(*PRIMARY)
        if found and found.low is not None and found.chance is not None and found.low <= found.chance:
            lines.append(
                f"{each.model} is not shown to be better than chance ({found.chance:.3f}) in {_PRIMARY_WORDS}; "
                "it should be trained on such images, or not be used for them."
            )
    return lines


def _against_baselines(best: Evaluation) -> list[str]:
    mine = best.estimate(*PRIMARY)
    lines = []
    for row in best.results:
        theirs = row.measures.get(PRIMARY[1])
        if row.task != PRIMARY[0] or row.system.startswith(best.model) or not (mine and theirs):
            continue
        if None not in (theirs.low, mine.high) and (theirs.low or 0) > (mine.high or 0):
            marks = f" ({'; '.join(row.marks)})" if row.marks else ""
            lines.append(
                f"Where a report is at hand, {row.system} finds more than {best.model}: {theirs.value:.3f}{marks}."
            )
    return lines


def _value(evaluation: Evaluation, what: tuple[str, str]) -> float | None:
    found = evaluation.estimate(*what)
    return found.value if found else None


def _query_ms(evaluation: Evaluation) -> tuple[float, float] | None:
    """Median and 95th percentile of the milliseconds from an image to hits: its encoding and the search."""
    told = evaluation.resources
    if told is None or told.encode_image is None or told.query is None:
        return None
    return told.encode_image.p50_ms + told.query.p50_ms, told.encode_image.p95_ms + told.query.p95_ms


def _is_faster(one: Evaluation, other: Evaluation) -> bool:
    """Whether the slow calls of one are faster than the usual call of the other."""
    mine, theirs = _query_ms(one), _query_ms(other)
    return mine is not None and theirs is not None and mine[1] < theirs[0]


def _shown_ms(evaluation: Evaluation) -> str:
    p50, p95 = _query_ms(evaluation) or (0.0, 0.0)
    return f"{p50:.1f} / {p95:.1f} ms"


def _is_shown(tests: Sequence[PairedTest], what: tuple[str, str], one: Evaluation, other: Evaluation) -> bool:
    found = _test(tests, what, one, other)
    return found is not None and found.is_shown


def _test(tests: Sequence[PairedTest], what: tuple[str, str], one: Evaluation, other: Evaluation) -> PairedTest | None:
    pair = {one.model, other.model}
    return next(
        (test for test in tests if (test.task, test.measure) == what and {test.better, test.worse} == pair), None
    )


def _p(tests: Sequence[PairedTest], what: tuple[str, str], one: Evaluation, other: Evaluation) -> str:
    found = _test(tests, what, one, other)
    if found is None:
        return "not tested"
    return (
        f"difference {found.difference:.3f} ({found.low:.3f} to {found.high:.3f}), {show_p(found.p_corrected)} "
        f"after correction for {len(tests)} comparisons"
    )


def _shown(evaluation: Evaluation, what: tuple[str, str]) -> str:
    found = evaluation.estimate(*what)
    assert found is not None
    return show(found)


def show(found: Estimate) -> str:
    """A figure with its interval."""
    if found.value is None:
        return "–"
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def show_p(p: float) -> str:
    """A p value, as far as it can be told."""
    return f"p = {p:.4f}" if p >= 0.0001 else "p < 0.0001"
