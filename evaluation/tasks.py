"""The tasks of the protocol: which queries are asked, of which gallery, and what counts as found.

Queries and gallery of every task come from one corpus, so they are of one split; what must not be found, such as the query's
own study, is left out of the gallery of that query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import NO_FINDING, Corpus
from evaluation.measures import same_label
from evaluation.results import Protocol

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
NameArray = NDArray[np.object_]

CURVE = (1, 2, 5, 10, 20, 50, 100)
"""Ranks of a recall curve."""
PAIR_MEASURES = (*(f"R@{k}" for k in CURVE), "RR")
LABEL_MEASURES = ("P@1", "P@5", "P@10", "Hit@10", "nDCG@10", "RR", "AP")
HEADLINES = {
    "image_to_report_strict": "R@10",
    "report_to_image_strict": "R@10",
    "image_to_image": "P@10",
    "text_to_image": "P@10",
}
"""The measure of each task that models are tested on; further tasks are shown but not tested."""

ItemKind = Literal["image", "report", "prompt"]


@dataclass(frozen=True, slots=True)
class Task:
    """Queries against a gallery.

    `rows` (int [Q]) are the images, or prompts, that the queries are; `columns` (int [G]) the images that the gallery, or
    the reports in it, are. `findings` are what each query asks for; the empty string in a task about pairs. `relevant` and
    `left_out` give bool [B, G] for numbers of queries (int [B]).
    """

    name: str
    query_kind: ItemKind
    gallery_kind: ItemKind
    measures: tuple[str, ...]
    rows: IntArray
    columns: IntArray
    units: tuple[str, ...]
    findings: tuple[str, ...]
    relevant: Callable[[IntArray], BoolArray]
    left_out: Callable[[IntArray], BoolArray]
    normal: str = ""
    """The finding that the macro mean leaves out."""

    @property
    def is_of_labels(self) -> bool:
        """Whether labels judge, and not pairs."""
        return "P@10" in self.measures


def pair_tasks(corpus: Corpus, protocol: Protocol) -> list[Task]:
    """Exact pairs both ways.

    `strict`: the report of the very study. `grouped`: any report that says the same. `distinct`: reports that say the same
    stand in the gallery once, so that one which half of all studies share cannot fill the first ranks with itself.
    """
    images = np.flatnonzero(corpus.has_report)
    if len(images) == 0:
        return []
    studies = np.array(corpus.studies, dtype=object)
    groups = np.array([image.group for image in corpus.images], dtype=object)
    reports, distinct = _firsts(images, studies), _firsts(images, groups)
    asked = _drawn(images, protocol.queries, protocol.seed)
    told = _drawn(reports, protocol.queries, protocol.seed)
    return [
        _pairs("image_to_report_strict", ("image", "report"), asked, reports, studies, studies),
        _pairs("image_to_report_grouped", ("image", "report"), asked, reports, studies, groups),
        _pairs("image_to_report_distinct", ("image", "report"), asked, distinct, studies, groups),
        _pairs("report_to_image_strict", ("report", "image"), told, images, studies, studies),
        _pairs("report_to_image_grouped", ("report", "image"), told, images, studies, groups),
    ]


def image_to_image(corpus: Corpus, protocol: Protocol) -> Task | None:
    """Images with the finding of the query's image, for each finding of it; its whole study and its copies left out."""
    holds, findings = _holders(corpus, protocol)
    rows, asked = [], []
    for number, finding in enumerate(findings):
        drawn = _drawn(np.flatnonzero(holds[number]), protocol.queries, protocol.seed)
        rows.append(drawn)
        asked += [finding] * len(drawn)
    if not asked:
        return None
    queries = np.concatenate(rows)
    of_finding = np.array([findings.index(finding) for finding in asked])
    studies = corpus.studies
    copies = [image.sha256 for image in corpus.images]
    own = same_label(studies, studies) | same_label(copies, copies)
    return Task(
        name="image_to_image",
        query_kind="image",
        gallery_kind="image",
        measures=LABEL_MEASURES,
        rows=queries,
        columns=np.arange(len(corpus.images)),
        units=tuple(studies[row] for row in queries),
        findings=tuple(asked),
        relevant=lambda numbers: holds[of_finding[numbers]],
        left_out=lambda numbers: own[queries[numbers]],
        normal=NO_FINDING[protocol.vocabulary],
    )


def text_to_image(corpus: Corpus, protocol: Protocol) -> Task | None:
    """Images with a finding, for the finding's prompt: one query a finding."""
    holds, findings = _holders(corpus, protocol)
    if not findings:
        return None
    size = len(corpus.images)
    return Task(
        name="text_to_image",
        query_kind="prompt",
        gallery_kind="image",
        measures=LABEL_MEASURES,
        rows=np.arange(len(findings)),
        columns=np.arange(size),
        units=tuple(findings),
        findings=tuple(findings),
        relevant=lambda numbers: holds[numbers],
        left_out=lambda numbers: np.zeros((len(numbers), size), dtype=bool),
        normal=NO_FINDING[protocol.vocabulary],
    )


def judged_findings(corpus: Corpus, protocol: Protocol) -> list[str]:
    """Findings with enough studies, most frequent first."""
    return [finding for finding, count in corpus.counts.items() if count >= protocol.smallest]


def _holders(corpus: Corpus, protocol: Protocol) -> tuple[BoolArray, list[str]]:
    findings = judged_findings(corpus, protocol)
    rows = [[finding in image.findings for image in corpus.images] for finding in findings]
    return np.array(rows, dtype=bool).reshape(len(findings), len(corpus.images)), findings


def _pairs(
    name: str, kinds: tuple[ItemKind, ItemKind], rows: IntArray, columns: IntArray, studies: NameArray, keys: NameArray
) -> Task:
    mine, theirs = list(keys[rows]), list(keys[columns])

    def relevant(numbers: IntArray) -> BoolArray:
        return same_label([mine[number] for number in numbers], theirs)

    return Task(
        name=name,
        query_kind=kinds[0],
        gallery_kind=kinds[1],
        measures=PAIR_MEASURES,
        rows=rows,
        columns=columns,
        units=tuple(studies[rows]),
        findings=("",) * len(rows),
        relevant=relevant,
        left_out=lambda numbers: np.zeros((len(numbers), len(columns)), dtype=bool),
    )


def _firsts(rows: IntArray, keys: NameArray) -> IntArray:
    """The first of `rows` for each key."""
    seen: dict[str, int] = {}
    for row in rows:
        seen.setdefault(keys[row], int(row))
    return np.array(list(seen.values()), dtype=np.int64)


def _drawn(rows: IntArray, limit: int, seed: int) -> IntArray:
    """At most `limit` of `rows`, the same ones each time, in order."""
    if len(rows) <= limit:
        return rows
    chosen: IntArray = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    return chosen
