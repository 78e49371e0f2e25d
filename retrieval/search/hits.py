"""What a search gives: hits with what each signal gave, and stored studies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from retrieval.index.filters import Filters
from retrieval.index.interface import Scored, SearchRequest, Stored
from retrieval.labels import Mentions
from retrieval.search.query import Query
from retrieval.search.rerank import parts, raw_signals

REPORT_SECTIONS = ("findings", "impression", "indication", "comparison")
_LABELS = ("present", "uncertain", "absent", "qualified", "from_indexing", "from_text", "problems", "mesh")


@dataclass(frozen=True, slots=True)
class Hit:
    """One image found.

    `parts` add up to `score`. `signals` are the raw values: cosines -1..1, less a third of that to what is disliked,
    term shares 0..1, BM25 from 0. `percentiles` say for each vector what per cent of this collection's unrelated pairs
    are less alike, 0..100. `folded` counts the candidates that collapse has put behind this one. `from_indexing` and
    `from_text` say which labels rest on what.
    """

    study_id: str
    image_id: str
    dataset: str
    view: str
    score: float
    parts: dict[str, float]
    signals: dict[str, float]
    percentiles: dict[str, float]
    folded: int
    present: list[str]
    uncertain: list[str]
    absent: list[str]
    qualified: list[str]
    from_indexing: list[str]
    from_text: list[str]
    problems: list[str]
    mesh: list[str]
    report: dict[str, str]
    study_date: str
    image_sha256: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, with the model that found them, how the query was understood, and milliseconds by stage.

    `facets` holds, for each field asked for, how many images under the filters have each value.
    """

    model: str
    collection: str
    bundle_id: str
    interpreted: dict[str, Any]
    hits: list[Hit]
    timings_ms: dict[str, float]
    facets: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The document that the command line and the HTTP API give."""
        return dict(msgspec.to_builtins(self))  # `dataclasses.asdict` takes a millisecond


@dataclass(frozen=True, slots=True)
class StudyImage:
    """An image of a stored study."""

    image_id: str
    view: str
    image_sha256: str


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A stored study with its report and labels."""

    study_id: str
    dataset: str
    images: list[StudyImage]
    present: list[str]
    uncertain: list[str]
    absent: list[str]
    qualified: list[str]
    from_indexing: list[str]
    from_text: list[str]
    problems: list[str]
    mesh: list[str]
    report: dict[str, str]
    study_date: str

    def to_dict(self) -> dict[str, Any]:
        """The document that the HTTP API gives."""
        return dict(msgspec.to_builtins(self))


def study_of(images: list[Stored]) -> StudyRecord:
    """The study that `images`, all of one study and at least one, belong to."""
    payload = images[0].payload
    return StudyRecord(
        study_id=payload["study_id"],
        dataset=payload["dataset"],
        images=[StudyImage(**{name: image.payload[name] for name in StudyImage.__slots__}) for image in images],
        **described(payload),
    )


def described(payload: dict[str, Any]) -> dict[str, Any]:
    """Labels, report and date of a payload; empty where an earlier version wrote it without."""
    labels = {name: payload.get(name, []) for name in _LABELS}
    report = {section: payload[section] for section in REPORT_SECTIONS}
    return labels | {"report": report, "study_date": payload.get("study_date", "")}


def hit_of(request: SearchRequest, found: Scored, shares: dict[str, float], folded: int) -> Hit:
    """The point that `request` found, with its percentiles by vector (`shares`) and how many were folded into it."""
    copied = ("study_id", "image_id", "dataset", "view", "image_sha256")
    return Hit(
        score=found.score,
        parts=parts(request, found),
        signals=raw_signals(request, found),
        percentiles=shares,
        folded=folded,
        **{name: found.payload[name] for name in copied},
        **described(found.payload),
    )


def interpretation(
    query: Query, filters: Filters, request: SearchRequest, mentions: Mentions, image_notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """How `query` was understood: filters, weights and options, what its text asks for and denies.

    `image_notes` say how the pixels of its image were made where that was a decision (docs/explanation/pixels.md).
    """
    weights = {signal.name: round(signal.weight, 4) for signal in request.signals}
    weights |= {overlap.name: round(overlap.weight, 4) for overlap in request.overlaps}
    if not weights and len(request.sources) == 1:
        weights = {request.sources[0].name: 1.0}
    shown: dict[str, Any] = {
        "filters": filters.to_dict(),
        "weights": weights,
        "rerank": query.rerank,
        "match": query.match,
        "candidates": max(query.candidates, query.k),
        "diversity": query.diversity,
        "collapse": query.collapse,
        "interpret": query.interpret,
    }
    if query.text and query.interpret:
        shown |= {name: list(getattr(mentions, name)) for name in ("asked", "denied", "unread")}
        shown["english"] = mentions.english
    if image_notes:
        shown["image_notes"] = list(image_notes)
    return shown
