"""Analysis of an experiment: counts, and the result of the sequential test.

The test assumes that a search (in a split, a session) is over. Later clicks on recent searches can change the verdict,
so the error rate holds for searches that are over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.experiments.entities import Experiment, Outcome, Shadow, Team
from service.experiments.sequential import ALPHA, SequentialResult, preference_result, split_result
from service.experiments.store import ExperimentStore

UNDECIDED = "no difference shown yet"
HIDDEN = "users did not see the second model, so there is no winner"


def describe(store: ExperimentStore, experiment: Experiment) -> dict[str, Any]:
    """The document of `cxr experiment status --json`; for a stopped experiment with its final result.

    Raises:
        ExperimentsUnavailable: the store cannot be read.
    """
    facts = {
        "name": experiment.name,
        "kind": experiment.kind,
        "models": [experiment.model_a, experiment.model_b],
        "share": experiment.share if experiment.kind == "split" else None,
        "started_at": experiment.started_at,
        "stopped_at": experiment.stopped_at,
    }
    return facts | (experiment.result or summarize(store, experiment))


def summarize(store: ExperimentStore, experiment: Experiment) -> dict[str, Any]:
    """Counts and test result of an experiment. `winner` is a model or None."""
    outcomes = store.outcomes(experiment.name)
    counts = {"exposures": len(outcomes), "sessions": len({each.exposure.session for each in outcomes})}
    match experiment.kind:
        case "interleave":
            return counts | _interleaving(experiment, outcomes)
        case "split":
            return counts | _split(experiment, outcomes)
        case "shadow":
            return counts | _shadow(experiment, store.shadows(experiment.name))


def credit(outcome: Outcome) -> Team | str:
    """The team with more positive hits in a search: `a`, `b` or `tie`; `none` if no positive hit has a team."""
    teams = [hit.team for hit in outcome.exposure.shown if hit.team and (hit.dataset, hit.image_id) in outcome.positive]
    lead = teams.count("a") - teams.count("b")
    if not teams:
        return "none"
    return "tie" if not lead else "a" if lead > 0 else "b"


def _interleaving(experiment: Experiment, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    credits = [credit(outcome) for outcome in outcomes]
    wins = {"a": credits.count("a"), "b": credits.count("b")}
    test = preference_result(wins["a"], wins["b"])
    return {
        "wins": {experiment.model_a: wins["a"], experiment.model_b: wins["b"]},
        "ties": credits.count("tie"),
        "without_feedback": credits.count("none"),
        "measure": f"share of decided searches that {experiment.model_a} won",
        **_test_result(experiment, test),
    }


def _split(experiment: Experiment, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    team: dict[str, Team] = {}
    succeeded: dict[str, bool] = {}
    for outcome in outcomes:
        session = outcome.exposure.session
        team.setdefault(session, outcome.exposure.team or "a")
        succeeded[session] = succeeded.get(session, False) or bool(outcome.positive)
    is_b = [each == "b" for each in team.values()]
    successes = list(succeeded.values())
    test = split_result(is_b, successes, experiment.share / 100)
    a, b = experiment.model_a, experiment.model_b
    return {
        "sessions_by_model": {a: is_b.count(False), b: is_b.count(True)},
        "successes": {
            a: sum(good and not arm for arm, good in zip(is_b, successes, strict=True)),
            b: sum(good and arm for arm, good in zip(is_b, successes, strict=True)),
        },
        "measure": f"share of sessions with a success with {b}, less that with {a}",
        **_test_result(experiment, test),
    }


def _test_result(experiment: Experiment, test: SequentialResult) -> dict[str, Any]:
    winner = experiment.model_of(test.winner) if test.winner else None
    return {
        "estimate": test.estimate,
        "interval": list(test.interval),
        "e_value": test.e_value,
        "alpha": ALPHA,
        "winner": winner,
        "verdict": f"{winner} wins" if winner else UNDECIDED,
    }


def _shadow(experiment: Experiment, shadows: Sequence[Shadow]) -> dict[str, Any]:
    done = [shadow for shadow in shadows if shadow.overlap is not None]
    times = {
        experiment.model_a: [shadow.ms_a for shadow in done if shadow.ms_a is not None],
        experiment.model_b: [shadow.ms_b for shadow in done if shadow.ms_b is not None],
    }
    errors = [shadow.error for shadow in shadows if shadow.error]
    return {
        "compared": len(done),
        "failed": {code: errors.count(code) for code in sorted(set(errors))},
        "overlap": float(np.mean([shadow.overlap for shadow in done])) if done else None,
        "latency_ms": {
            model: {"p50": float(np.median(ms)), "p95": float(np.percentile(ms, 95))} if ms else None
            for model, ms in times.items()
        },
        "winner": None,
        "verdict": HIDDEN,
    }
