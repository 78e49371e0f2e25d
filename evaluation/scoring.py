"""The result of one system in one task: rankings in blocks, measures by ir-measures, chance and intervals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ir_measures
import numpy as np
from numpy.typing import NDArray

from evaluation.chance import expectation
from evaluation.intervals import bootstrap_interval, contributions, macro_mean, percentile_interval
from evaluation.resampling import label_draws
from evaluation.results import Estimate, Protocol, TaskResult, number
from evaluation.tasks import HEADLINES, BoolArray, IntArray, Task
from retrieval.progress import NoProgress, Progress

Scorer = Callable[[IntArray], NDArray[np.floating[Any]]]
"""Gives the similarity of some queries (int [B]) to the gallery of their task, float [B, G]."""

_BLOCK = 128
# Success@k, whether a relevant item is among the first k, is called R@k where each query has one and Hit@k elsewhere.
_IR_MEASURES = {"R": "Success", "Hit": "Success", "P": "P", "nDCG": "nDCG", "RR": "RR", "AP": "AP"}


@dataclass(frozen=True, slots=True)
class Judged:
    """The rankings of the queries that have a relevant item.

    Attributes:
        numbers: The queries.
        values: Value of each query, by measure.
        chance: Chance level of each query, by measure.
        order: For each query, the gallery column at each rank.
        hits: For each query, whether the item at each rank is relevant.
        relevant: For each query, the number of relevant items.
    """

    numbers: IntArray
    values: dict[str, NDArray[np.float64]]
    chance: dict[str, NDArray[np.float64]]
    order: list[IntArray]
    hits: list[BoolArray]
    relevant: list[int]


def measure(
    task: Task,
    system: str,
    scorer: Scorer,
    protocol: Protocol,
    studies: Sequence[str],
    *,
    progress: Progress = NoProgress(),
) -> TaskResult:
    """The result of one system in one task; `studies` are those of all images of the corpus.

    `progress` receives the number of queries done.
    """
    # There are few prompts, so their rankings are not cut.
    depth = len(task.columns) if task.query_kind == "prompt" else protocol.depth
    judged = judge(task, scorer, depth, progress=NoProgress() if task.is_of_labels else progress)
    findings = [task.findings[n] for n in judged.numbers]
    units = [task.units[n] for n in judged.numbers]
    draws_of = None
    if task.is_of_labels:
        draws_of = label_draws(
            judged.hits,
            judged.order,
            judged.relevant,
            findings,
            [studies[column] for column in task.columns],
            None if task.query_kind == "prompt" else units,
            resamples=protocol.resamples,
            seed=protocol.seed,
            progress=progress,
        )

    def estimate(name: str, selected: Collection[str]) -> Estimate:
        mask = np.array([finding in selected for finding in findings], dtype=bool)
        values, chance = judged.values[name][mask], judged.chance[name][mask]
        kept = [finding for finding in findings if finding in selected]
        if draws_of is not None:
            low, high = percentile_interval(draws_of(name, selected))
        else:
            low, high = bootstrap_interval(values, units, kept, resamples=protocol.resamples, seed=protocol.seed)
        return Estimate(
            value=number(macro_mean(values, kept)),
            low=number(low),
            high=number(high),
            chance=number(macro_mean(chance, kept)),
            n=len(values),
            findings=len(set(kept)) if task.is_of_labels else None,
        )

    all_findings = list(dict.fromkeys(findings))
    abnormal = [finding for finding in all_findings if finding != task.normal or not task.normal]
    measures = {name: estimate(name, abnormal) for name in task.measures}
    by_finding: dict[str, dict[str, Estimate]] = {}
    if task.is_of_labels:
        measures |= {f"{name} with normal": estimate(name, all_findings) for name in ("P@10", "AP")}
        by_finding = {finding: {name: estimate(name, [finding]) for name in ("P@10", "AP")} for finding in all_findings}
    parts: dict[Hashable, float] = {}
    draws: list[float | None] = []
    headline = HEADLINES.get(task.name)
    if headline and draws_of:
        draws = [number(value) for value in draws_of(headline, abnormal).tolist()]
    elif headline:
        parts = contributions(judged.values[headline], units, findings)
    return TaskResult(
        task=task.name,
        system=system,
        gallery=len(task.columns),
        queries=len(judged.numbers),
        measures=measures,
        by_finding=by_finding,
        units=[str(unit) for unit in parts],
        values=[round(value, 9) for value in parts.values()],
        draws=draws,
    )


def judge(task: Task, scorer: Scorer, depth: int, *, progress: Progress = NoProgress()) -> Judged:
    """Rank the gallery for each query by similarity, with ties by id, and measure; skip queries without a relevant item."""
    numbers, order, hits, counts = [], [], [], []
    for block in _blocks(len(task.rows)):
        similarity, relevant, left_out = scorer(block), task.relevant(block), task.left_out(block)
        relevant = relevant & ~left_out
        ranked = np.argsort(np.where(left_out, np.inf, -similarity), axis=1, kind="stable")
        for place, n in enumerate(block):
            found, size = int(relevant[place].sum()), int((~left_out[place]).sum())
            if not found:
                continue
            columns = ranked[place, : min(depth, size)]
            numbers.append(int(n))
            order.append(columns)
            hits.append(relevant[place, columns])
            counts.append((found, size))
        progress(int(block[-1]) + 1, len(task.rows))
    values = measure_rankings(task.measures, hits, [found for found, _ in counts])
    chance = {
        name: np.array([expected(found, size) for found, size in counts])
        for name in task.measures
        for expected in [expectation(name, depth)]
    }
    return Judged(np.array(numbers, dtype=np.int64), values, chance, order, hits, [found for found, _ in counts])


def measure_rankings(
    measures: Sequence[str], hits: Sequence[BoolArray], relevant: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """The value of each measure for each query, float64 [Q].

    Args:
        measures: Names such as `R@10`, `Hit@10`, `P@10`, `nDCG@10`, `RR`, `AP`.
        hits: For each query, whether the item at each rank is relevant.
        relevant: For each query, the number of relevant items, those past the end of the ranking included.
    """
    by_measure = {}
    for name in measures:
        kind, _, cutoff = name.partition("@")
        # Not `ir_measures.parse_measure`: it reads the name through `ast.Num`, which Python 3.14 no longer has.
        measure = getattr(ir_measures, _IR_MEASURES[kind])
        by_measure[measure @ int(cutoff) if cutoff else measure] = name
    values = {name: np.zeros(len(hits)) for name in measures}
    for block in _blocks(len(hits)):
        # Scores without ties: trec_eval would break ties in its own way.
        run = {str(n): {str(rank): float(-rank) for rank in range(len(hits[n]))} for n in block}
        qrels = {}
        for n in block:
            ranks = np.flatnonzero(hits[n]).tolist()
            qrels[str(n)] = {str(rank): 1 for rank in ranks} | {
                f"beyond {m}": 1 for m in range(relevant[n] - len(ranks))
            }
        for metric in ir_measures.iter_calc(list(by_measure), qrels, run):
            values[by_measure[metric.measure]][int(metric.query_id)] = metric.value
    return values


def _blocks(count: int) -> Iterator[IntArray]:
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count))
