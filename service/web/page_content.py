"""Content of the page: plain values that the templates only arrange."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from retrieval.search.hits import Hit, StudyRecord
from service.api.problems import Problem
from service.experiments.entities import FeedbackKind, ShownResult
from service.web.feedback_links import feedback_parameters

SIGNALS = {
    "image": "Image",
    "findings": "Findings text",
    "impression": "Impression text",
    "mesh": "MeSH terms",
    "problems": "Problems",
    "bm25": "Report words",
    "rank": "Rank",
}
"""Labels of the signals, in the order of the bars."""

BAR_WIDTH = 100.0
"""Width of a bar in units of its drawing. A score of 1 fills it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One signal's share of a hit's score, with the start and width of its segment of the bar, 0..100."""

    name: str
    label: str
    value: float
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Card:
    """One hit with its rank, counted from 1, and its bar. `feedback` holds link parameters by kind of feedback."""

    rank: int
    hit: Hit
    parts: list[Part]
    feedback: dict[str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """A search result, arranged. `filters`, `denied` and `unread` are the interpreted query."""

    model: str
    cards: list[Card]
    filters: list[str]
    denied: list[str]
    unread: list[str]
    english: bool
    signals: dict[str, str]
    elapsed_ms: float


@dataclass(slots=True)
class PageContent:
    """Everything the page shows. If a step fails, the rest keeps its defaults, and `problem` says why.

    `session` is the name of the key that the page was logged in with.
    """

    status: int = 200
    model: str | None = None
    models: list[str] = field(default_factory=list)
    findings: dict[str, int] = field(default_factory=dict)
    severities: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    images: int = 0
    study: StudyRecord | None = None
    preview: str | None = None
    results: Results | None = None
    problem: Problem | None = None
    session: str | None = None

    def fail(self, problem: Problem) -> None:
        """Show `problem`, and answer with its status."""
        self.problem, self.status = problem, problem.status


def arrange_results(result: ShownResult) -> Results:
    """The search result as cards."""
    cards = [
        Card(
            rank,
            hit,
            _segments(hit.parts),
            {kind: feedback_parameters(result, hit, kind) for kind in get_args(FeedbackKind)},
        )
        for rank, hit in enumerate(result.hits, start=1)
    ]
    used = {part.name for card in cards for part in card.parts}
    return Results(
        model=result.model,
        cards=cards,
        filters=_describe_filters(result.interpreted["filters"]),
        denied=result.interpreted.get("denied", []),
        unread=result.interpreted.get("unread", []),
        english=result.interpreted.get("english", True),
        signals={name: label for name, label in SIGNALS.items() if name in used},
        elapsed_ms=sum(result.timings_ms.values()),
    )


def _segments(parts: dict[str, float]) -> list[Part]:
    """Segments of the bar, side by side. A negative part lowers the score and has no width."""
    total = sum(max(value, 0.0) for value in parts.values())
    scale = BAR_WIDTH / max(total, 1.0)
    segments, start = [], 0.0
    for name in sorted(parts, key=lambda name: list(SIGNALS).index(name) if name in SIGNALS else len(SIGNALS)):
        width = max(parts[name], 0.0) * scale
        segments.append(Part(name, SIGNALS.get(name, name), parts[name], round(start, 2), round(width, 2)))
        start += width
    return segments


def _describe_filters(filters: dict[str, object]) -> list[str]:
    """One phrase for each condition, as the engine applied it."""
    words = {
        "all": "with {}",
        "none": "without {}",
        "absent": "{} absent",
        "certainty": "{} findings",
        "view": "{} view",
        "dataset": "dataset {}",
        "study_id": "study {}",
        "date_from": "from {}",
        "date_to": "until {}",
        "exclude_studies": "not study {}",
    }
    described = []
    for name, value in filters.items():
        if name == "has_report":
            described.append("with a report" if value else "without a report")
        elif isinstance(value, list | tuple) and name in words:
            described += [words[name].format(item) for item in value]
        elif isinstance(value, list | tuple):
            described.append({"any": "with any of "}.get(name, "") + ", ".join(map(str, value)))
        else:
            described.append(words[name].format(value))
    return described
