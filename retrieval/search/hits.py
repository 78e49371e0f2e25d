"""Results of a search: hits with the part of each signal in their score, and stored studies."""

from __future__ import annotations

from typing import Any, TypedDict

import msgspec

from retrieval.index.filters import Filters
from retrieval.index.interface import Stored
from retrieval.index.search_request import Scored, SearchRequest, parts_of
from retrieval.labels import Mentions
from retrieval.records import View
from retrieval.search.query import Query
from retrieval.search.rerank import raw_signals

REPORT_SECTIONS = ("findings", "impression", "indication", "comparison")
_LABELS = ("present", "uncertain", "absent", "qualified", "from_indexing", "from_text", "problems", "mesh")


class ReportSections(TypedDict):
    """The text of a report by section; a section that the report lacks is the empty string."""

    findings: str
    impression: str
    indication: str
    comparison: str


class Hit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image found, with its labels and its report.

    `parts` add up to `score`. `signals` are the raw values: cosines -1..1 (minus a third of the cosine to `unlike` cases),
    shares of terms 0..1, BM25 from 0. `percentiles` give, for each vector, the per cent of this collection's unrelated
    pairs that are less alike (0..100). `collapsed_count` is the number of candidates that `collapse` removed in favour of
    this hit. `from_indexing` and `from_text` list the labels by where they come from.
    """

    study_id: str
    image_id: str
    dataset: str
    view: View
    score: float
    parts: dict[str, float]
    signals: dict[str, float]
    percentiles: dict[str, float]
    collapsed_count: int
    present: list[str]
    uncertain: list[str]
    absent: list[str]
    qualified: list[str]
    from_indexing: list[str]
    from_text: list[str]
    problems: list[str]
    mesh: list[str]
    report: ReportSections
    study_date: str
    image_sha256: str


class SearchResult(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hits, best first, with the model that found them, the interpreted query, and milliseconds by stage.

    `facets` holds, for each field that the query names, the number of images under the filters by value.
    """

    model: str
    collection: str
    bundle_id: str
    interpreted: dict[str, Any]
    hits: list[Hit]
    timings_ms: dict[str, float]
    facets: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of the command line and the HTTP API."""
        return dict(msgspec.to_builtins(self))


class StudyImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image of a stored study."""

    image_id: str
    view: View
    image_sha256: str


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored study with its images, labels and report."""

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
    report: ReportSections
    study_date: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of the HTTP API."""
        return dict(msgspec.to_builtins(self))


def study_of(images: list[Stored]) -> StudyRecord:
    """The study of `images`, which are at least one and all of that study."""
    payload = images[0].payload
    return StudyRecord(
        study_id=payload["study_id"],
        dataset=payload["dataset"],
        images=[StudyImage(**{name: image.payload[name] for name in StudyImage.__struct_fields__}) for image in images],
        **payload_fields(payload),
    )


def payload_fields(payload: dict[str, Any]) -> dict[str, Any]:
    """Labels, report and date of a payload; empty if an earlier version did not store them."""
    labels = {name: payload.get(name, []) for name in _LABELS}
    report = {section: payload[section] for section in REPORT_SECTIONS}
    return labels | {"report": report, "study_date": payload.get("study_date", "")}


def hit_of(request: SearchRequest, found: Scored, shares: dict[str, float], collapsed_count: int) -> Hit:
    """The point that `request` found; `shares` are its percentiles by vector."""
    copied = ("study_id", "image_id", "dataset", "view", "image_sha256")
    return Hit(
        score=found.score,
        parts=parts_of(request, found),
        signals=raw_signals(request, found),
        percentiles=shares,
        collapsed_count=collapsed_count,
        **{name: found.payload[name] for name in copied},
        **payload_fields(found.payload),
    )


def interpretation(
    query: Query, filters: Filters, request: SearchRequest, mentions: Mentions, image_notes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The interpretation of `query`: filters, weights and options, and the findings that its text asks for and denies.

    `image_notes` are the decisions in preparing the pixels of its image (docs/explanation/pixels.md).
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
