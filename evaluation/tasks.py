"""The tasks of the protocol: queries, gallery, and the relevant items of each query.

Queries and gallery of a task come from one corpus, so from one split. The gallery of a query excludes items that would be
trivial hits, such as the study of the query itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import NO_FINDING, Corpus
from evaluation.measures import same_label
from evaluation.results import Protocol

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
NameArray = NDArray[np.object_]

CURVE = (1, 2, 5, 10, 20, 50, 100)
"""Ranks of the recall curve."""
PAIR_MEASURES = (*(f"R@{k}" for k in CURVE), "RR")
LABEL_MEASURES = ("P@1", "P@5", "P@10", "Hit@10", "nDCG@10", "RR", "AP")
HEADLINES = {
    "image_to_report_strict": "R@10",
    "report_to_image_strict": "R@10",
    "image_to_image": "P@10",
    "text_to_image": "P@10",
}
"""The measure that paired tests use, by task. Other tasks are shown but not tested."""

ItemKind = Literal["image", "report", "prompt"]


class TaskDescription(NamedTuple):
    """Title and note of a task in a report; `relevance`: exact pairs or labels decide what is relevant."""

    title: str
    note: str
    relevance: Literal["pairs", "labels"]


TASKS = {
    "image_to_report_strict": TaskDescription(
        "Image to report, strict",
        "Relevant: the report of the same study.",
        "pairs",
    ),
    "image_to_report_grouped": TaskDescription(
        "Image to report, grouped",
        "Relevant: every report with the same text.",
        "pairs",
    ),
    "image_to_report_distinct": TaskDescription(
        "Image to report, distinct",
        "Relevant: the report with the same text. The gallery has each text once.",
        "pairs",
    ),
    "report_to_image_strict": TaskDescription(
        "Report to image, strict",
        "Relevant: the images of the same study.",
        "pairs",
    ),
    "report_to_image_grouped": TaskDescription(
        "Report to image, grouped",
        "Relevant: the images of every study whose report has the same text.",
        "pairs",
    ),
    "image_to_image": TaskDescription(
        "Image to image, by finding",
        "Relevant: images with the finding. The study of the query and copies of its image are excluded.",
        "labels",
    ),
    "text_to_image": TaskDescription(
        "Text to image, by finding",
        "Relevant: images with the finding. One prompt per finding.",
        "labels",
    ),
}
"""All tasks, in the order of a report."""


@dataclass(frozen=True, slots=True)
class Task:
    """Queries and a gallery.

    Attributes:
        query_kind: What the queries are.
        gallery_kind: What the gallery holds.
        rows: The image or prompt of each query, int [Q].
        columns: The image of each gallery item, or of its report, int [G].
        units: The study or prompt of each query, as the unit of resampling.
        findings: The finding of each query; empty strings in tasks of exact pairs.
        relevant: Gives the relevant items of some queries (int [B]) as bool [B, G].
        left_out: Gives the excluded items of some queries (int [B]) as bool [B, G].
        normal: The name of "no finding", which the macro mean ignores.
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

    @property
    def is_of_labels(self) -> bool:
        """Whether labels decide what is relevant; otherwise exact pairs do."""
        return TASKS[self.name].relevance == "labels"


def pair_tasks(corpus: Corpus, protocol: Protocol) -> list[Task]:
    """Tasks of exact pairs, from image to report and from report to image.

    `strict`: only the report of the same study is relevant. `grouped`: any report with the same text is relevant.
    `distinct`: reports with the same text are in the gallery once, so a report that half of all studies share cannot fill
    the first ranks.
    """
    images = np.flatnonzero(corpus.has_report)
    if len(images) == 0:
        return []
    studies = np.array(corpus.studies, dtype=object)
    groups = np.array([image.group for image in corpus.images], dtype=object)
    reports, distinct = _first_of_each(images, studies), _first_of_each(images, groups)
    query_images = _sample(images, protocol.queries, protocol.seed)
    query_reports = _sample(reports, protocol.queries, protocol.seed)
    return [
        _pairs("image_to_report_strict", ("image", "report"), query_images, reports, studies, studies),
        _pairs("image_to_report_grouped", ("image", "report"), query_images, reports, studies, groups),
        _pairs("image_to_report_distinct", ("image", "report"), query_images, distinct, studies, groups),
        _pairs("report_to_image_strict", ("report", "image"), query_reports, images, studies, studies),
        _pairs("report_to_image_grouped", ("report", "image"), query_reports, images, studies, groups),
    ]


def image_to_image(corpus: Corpus, protocol: Protocol) -> Task | None:
    """Image queries: images that share a finding are relevant, one query per finding. None without findings.

    The study of the query and copies of its image are excluded.
    """
    holds, findings = _images_by_finding(corpus, protocol)
    rows, query_findings = [], []
    for number, finding in enumerate(findings):
        drawn = _sample(np.flatnonzero(holds[number]), protocol.queries, protocol.seed)
        rows.append(drawn)
        query_findings += [finding] * len(drawn)
    if not query_findings:
        return None
    queries = np.concatenate(rows)
    of_finding = np.array([findings.index(finding) for finding in query_findings])
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
        findings=tuple(query_findings),
        relevant=lambda numbers: holds[of_finding[numbers]],
        left_out=lambda numbers: own[queries[numbers]],
        normal=NO_FINDING[protocol.vocabulary],
    )


def text_to_image(corpus: Corpus, protocol: Protocol) -> Task | None:
    """Prompt queries: images with the finding are relevant, one query per finding. None without findings."""
    holds, findings = _images_by_finding(corpus, protocol)
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


def _images_by_finding(corpus: Corpus, protocol: Protocol) -> tuple[BoolArray, list[str]]:
    """Which image has which finding, bool [findings, images], and the findings."""
    findings = judged_findings(corpus, protocol)
    rows = [[finding in image.findings for image in corpus.images] for finding in findings]
    return np.array(rows, dtype=bool).reshape(len(findings), len(corpus.images)), findings


def _pairs(
    name: str, kinds: tuple[ItemKind, ItemKind], rows: IntArray, columns: IntArray, studies: NameArray, keys: NameArray
) -> Task:
    query_keys, gallery_keys = list(keys[rows]), list(keys[columns])

    def relevant(numbers: IntArray) -> BoolArray:
        return same_label([query_keys[number] for number in numbers], gallery_keys)

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


def _first_of_each(rows: IntArray, keys: NameArray) -> IntArray:
    """The first of `rows` with each key."""
    seen: dict[str, int] = {}
    for row in rows:
        seen.setdefault(keys[row], int(row))
    return np.array(list(seen.values()), dtype=np.int64)


def _sample(rows: IntArray, limit: int, seed: int) -> IntArray:
    """At most `limit` of `rows`, in order; the same seed gives the same sample."""
    if len(rows) <= limit:
        return rows
    chosen: IntArray = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    return chosen
