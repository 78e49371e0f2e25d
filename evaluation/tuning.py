"""Rerank weights for image queries, fitted on some studies and measured on others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import Corpus, read_collection
from evaluation.intervals import bootstrap_test, draws_array, macro_mean
from evaluation.rerank_signals import IMAGE_SIGNALS, image_signals, rerank_scorer
from evaluation.results import Estimate, Protocol
from evaluation.scoring import measure
from evaluation.tasks import Task, image_to_image
from retrieval.errors import InvalidRequest
from retrieval.index.interface import Collection
from retrieval.index.schema import Scale
from retrieval.progress import NoProgress, Progress, StageProgress, progress_of_part
from retrieval.search.rerank import CANDIDATES, WEIGHTS

STEPS = 10
"""The grid divides 0..1 into this number of steps."""
_BLOCK = 128


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a fit.

    `weights` are a complete preset: the weights of the terms, which an image query lacks, are unchanged. `before` and
    `after` are P@10 from image to image on the other studies, with the starting and the fitted weights. `gain` is their
    difference, with 95 % interval and p.
    """

    model: str
    bundle_id: str
    judged_by: str
    fitted_on: int
    reported_on: int
    weights: dict[str, float]
    fitted_ap_before: float
    fitted_ap_after: float
    before: Estimate
    after: Estimate
    gain: float
    gain_low: float
    gain_high: float
    p: float

    @property
    def is_shown(self) -> bool:
        """Whether the fitted weights are significantly better on the other studies, at 5 %."""
        return self.gain > 0 and self.p < 0.05


def tune(
    collection: Collection,
    model: str,
    protocol: Protocol,
    *,
    fit: frozenset[str] | None = None,
    report: frozenset[str] | None = None,
    progress: StageProgress = NoProgress(),
) -> Tuning:
    """Fit the weights of image, findings and impression for the best AP from image to image; measure on other studies.

    Args:
        collection: The collection of the model.
        model: Name of the model.
        protocol: The rules.
        fit: Study ids to fit on. Without `fit` and `report`, a hash of the ids divides the studies into halves.
        report: Study ids to report on.
        progress: Receives the stages.

    Raises:
        InvalidRequest: `fit` and `report` share a study, or one of them has nothing to evaluate.
    """
    progress.stage("Reading stored vectors")
    if fit is None or report is None:
        fit, report = halves({str(point.payload["study_id"]) for point in collection.scroll(limit=None)})
    if shared := fit & report:
        raise InvalidRequest(
            f"the studies to fit on and to report on overlap in {len(shared)} studies; the first: {min(shared)}"
        )
    calibration = collection.meta.calibration
    fit_corpus, fit_task = _task(collection, protocol, fit, "fit")
    report_corpus, report_task = _task(collection, protocol, report, "report")
    progress.stage("Fitting the weights", "sets of weights")
    shares, before, after = best_shares(fit_task, fit_corpus, calibration, _start(), progress=progress)
    weights = _preset(shares)
    progress.stage("Measuring on the other studies", "queries")
    rows = [
        measure(
            report_task,
            "tuned",
            rerank_scorer(report_task, report_corpus, calibration, each),
            protocol,
            report_corpus.studies,
            progress=progress_of_part(progress, number, 2),
        )
        for number, each in enumerate((WEIGHTS, weights))
    ]
    old, new = (row.measures["P@10"] for row in rows)
    gain = (new.value or 0.0) - (old.value or 0.0)
    p, low, high = bootstrap_test(gain, draws_array(rows[1].draws) - draws_array(rows[0].draws))
    return Tuning(
        model=model,
        bundle_id=collection.meta.bundle_id,
        judged_by=report_corpus.judged_by,
        fitted_on=len(set(fit_corpus.studies)),
        reported_on=len(set(report_corpus.studies)),
        weights=weights,
        fitted_ap_before=round(before, 6),
        fitted_ap_after=round(after, 6),
        before=old,
        after=new,
        gain=round(gain, 6),
        gain_low=round(low, 6),
        gain_high=round(high, 6),
        p=round(p, 6),
    )


def halves(studies: set[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Two parts of about the same size. The part of a study depends on its id only."""
    odd = {study for study in studies if hashlib.sha256(study.encode()).digest()[0] % 2}
    return frozenset(studies - odd), frozenset(odd)


def best_shares(
    task: Task,
    corpus: Corpus,
    calibration: Mapping[str, Scale],
    start: NDArray[np.float64],
    *,
    progress: Progress = NoProgress(),
) -> tuple[NDArray[np.float64], float, float]:
    """The signal weights with the highest macro AP on a grid in steps of a tenth, the AP of `start`, and their AP.

    Without a better point on the grid, the result is `start`.
    """
    candidates = list(_candidates(task, corpus, calibration))
    findings = [each.finding for each in candidates]

    def score(shares: NDArray[np.float64]) -> float:
        values = np.array([each.average_precision(shares) for each in candidates])
        return macro_mean(values, findings)

    start_ap = score(start)
    best, best_ap = start, start_ap
    grid = [steps for steps in product(range(STEPS + 1), repeat=len(start) - 1) if sum(steps) <= STEPS]
    for number, steps in enumerate(grid, start=1):
        progress(number, len(grid))
        shares = np.array([*steps, STEPS - sum(steps)]) / STEPS
        ap = score(shares)
        if ap > best_ap + 1e-9:
            best, best_ap = shares, ap
    return best, start_ap, best_ap


@dataclass(frozen=True, slots=True)
class _Query:
    """The rerank candidates of one query: their signals, float32 [S, C], and which are relevant, bool [C].

    Items below the candidates keep their ranks: `rest` is the sum of their precisions. `total` is the number of relevant
    items.
    """

    finding: str
    signals: NDArray[np.float32]
    relevant: NDArray[np.bool_]
    rest: float
    total: int

    def average_precision(self, shares: NDArray[np.float64]) -> float:
        order = np.argsort(-(shares @ self.signals), kind="stable")
        ranks = np.flatnonzero(self.relevant[order]) + 1
        return float((np.arange(1, len(ranks) + 1) / ranks).sum() + self.rest) / self.total


def _candidates(task: Task, corpus: Corpus, calibration: Mapping[str, Scale]) -> Iterator[_Query]:
    abnormal = np.array([n for n, finding in enumerate(task.findings) if finding != task.normal], dtype=np.int64)
    for start in range(0, len(abnormal), _BLOCK):
        numbers = abnormal[start : start + _BLOCK]
        left_out = task.left_out(numbers)
        relevant = task.relevant(numbers) & ~left_out
        signals = image_signals(task, corpus, calibration, numbers)
        order = np.argsort(-np.where(left_out, -np.inf, signals[0]), axis=1, kind="stable")
        for place, number in enumerate(numbers):
            size = int((~left_out[place]).sum())
            ranked, total = order[place, :size], int(relevant[place].sum())
            if not total:
                continue
            ranks = np.flatnonzero(relevant[place, ranked]) + 1
            precisions = np.arange(1, len(ranks) + 1) / ranks
            near = np.sort(ranked[:CANDIDATES])  # ordered by id, which breaks ties
            yield _Query(
                finding=task.findings[number],
                signals=signals[:, place, near],
                relevant=relevant[place, near],
                rest=float(precisions[ranks > CANDIDATES].sum()),
                total=total,
            )


def _task(collection: Collection, protocol: Protocol, studies: frozenset[str], purpose: str) -> tuple[Corpus, Task]:
    corpus = read_collection(collection, view=protocol.view, vocabulary=protocol.vocabulary, studies=studies)
    task = image_to_image(corpus, protocol)
    if task is None or all(finding == task.normal for finding in task.findings):
        raise InvalidRequest(
            f"no abnormal finding has {protocol.smallest} studies among the {len(set(corpus.studies))} to {purpose} on"
        )
    return corpus, task


def _start() -> NDArray[np.float64]:
    weights = np.array([WEIGHTS[name] for name in IMAGE_SIGNALS])
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _preset(shares: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """A complete preset: the terms keep their weights, and the three signals share the rest."""
    terms = {name: weight for name, weight in WEIGHTS.items() if name not in IMAGE_SIGNALS}
    rest = 1 - sum(terms.values())
    fitted = {name: round(float(share) * rest, 4) for name, share in zip(IMAGE_SIGNALS, shares, strict=True)}
    return fitted | terms
