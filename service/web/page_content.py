"""What the page shows: plain values that the template only arranges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from retrieval.search.hits import Hit, StudyRecord
from service.api.problems import Problem
from service.experiments.entities import FeedbackKind, ShownResult
from service.web.feedback_links import say_of_hit

SIGNALS = {
    "image": "Image",
    "findings": "Findings text",
    "impression": "Impression text",
    "mesh": "MeSH terms",
    "problems": "Problems",
    "bm25": "Words of the report",
    "rank": "Place in the list",
}
"""Names of the signals as the page gives them, in the order of the bars."""

BAR_WIDTH = 100.0
"""Width of a bar in units of its drawing; a score of 1 fills it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One signal's share of a hit's score: where its segment of the bar starts and how wide it is, 0..100."""

    name: str
    label: str
    value: float
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Card:
    """One hit with its rank, counted from 1, and its bar."""

    rank: int
    hit: Hit
    parts: list[Part]
    said: dict[str, str]
    """What a link of the card adds to its address, by kind of feedback, to say what following it means."""


@dataclass(frozen=True, slots=True)
class Results:
    """A search result, arranged."""

    model: str
    cards: list[Card]
    applied: list[str]
    denied: list[str]
    unread: list[str]
    english: bool
    signals: dict[str, str]
    elapsed_ms: float


@dataclass(slots=True)
class PageContent:
    """The page's content, filled in as far as it could be looked up."""

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
    """Name of the key of the session, if the page was logged in to."""


def render_results(result: ShownResult) -> Results:
    """The cards of a search result."""
    cards = [
        Card(rank, hit, _segments(hit.parts), {kind: say_of_hit(result, hit, kind) for kind in get_args(FeedbackKind)})
        for rank, hit in enumerate(result.hits, start=1)
    ]
    used = {part.name for card in cards for part in card.parts}
    return Results(
        model=result.model,
        cards=cards,
        applied=_describe_filters(result.interpreted["filters"]),
        denied=result.interpreted.get("denied", []),
        unread=result.interpreted.get("unread", []),
        english=result.interpreted.get("english", True),
        signals={name: label for name, label in SIGNALS.items() if name in used},
        elapsed_ms=sum(result.timings_ms.values()),
    )


def _segments(parts: dict[str, float]) -> list[Part]:
    """Segments of the bar, side by side. A part below zero, from a signal that speaks against the hit, has no width."""
    total = sum(max(value, 0.0) for value in parts.values())
    scale = BAR_WIDTH / max(total, 1.0)
    segments, start = [], 0.0
    for name in sorted(parts, key=lambda name: list(SIGNALS).index(name) if name in SIGNALS else len(SIGNALS)):
        width = max(parts[name], 0.0) * scale
        segments.append(Part(name, SIGNALS.get(name, name), parts[name], round(start, 2), round(width, 2)))
        start += width
    return segments


def _describe_filters(filters: dict[str, object]) -> list[str]:
    """The conditions in words, one each, as the engine applied them."""
    words = {
        "all": "with {}",
        "none": "without {}",
        "absent": "{} denied",
        "certainty": "findings {}",
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
