"""The shapes at the wire. Responses mirror `SearchResult.to_dict()` and its kin, which the command line prints, too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar.datastructures import UploadFile
from msgspec import Meta

from retrieval.index.filters import Filters
from retrieval.records import LIMIT_ID, View
from retrieval.search.query import LIMIT_BATCH, LIMIT_K, Facet, Query, Text
from service.experiments.entities import FeedbackKind

Preset = Literal["signals", "visual", "report", "none"]
"""The names that `rerank` takes; weights by signal only in the body of `/v1/search`."""
K = Annotated[int, Meta(ge=1, le=LIMIT_K, description="Number of hits.", examples=[10])]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=200, description="A model with a collection.", examples=["phantom-siglip"])
]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request body has in common: a field this version does not know is refused."""


class SearchQuery(Query, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `Query`, and the model that shall answer it, the active one if absent."""

    model: ModelName | None = None


class SearchBatch(_Request, frozen=True, kw_only=True):
    """Queries that are answered together by one model, the active one if `model` is absent."""

    queries: Annotated[tuple[Query, ...], Meta(min_length=1, max_length=LIMIT_BATCH)]
    model: ModelName | None = None


class FacetQuery(_Request, frozen=True, kw_only=True):
    """Fields whose values are to be counted, over the images that obey `filters`."""

    fields: Annotated[tuple[Facet, ...], Meta(min_length=1, max_length=11, examples=[["present", "view"]])]
    filters: Filters = Filters()
    model: ModelName | None = None


class TextQuery(_Request, frozen=True, kw_only=True):
    """A search by words. `model` is the active one if absent; `rerank` orders by signals or, if `none`, by image alone."""

    text: Text
    filters: Filters = Filters()
    k: K = 10
    rerank: Preset = "signals"
    model: ModelName | None = None


class ImageQuery(_Request, frozen=True, kw_only=True):
    """A search by image (PNG, JPEG, WebP or DICOM), as a multipart form. `filters` is JSON text of the shape `Filters`."""

    image: UploadFile
    filters: Annotated[str, Meta(max_length=100_000, examples=['{"all": ["Cardiomegaly"], "view": "frontal"}'])] = "{}"
    k: K = 10
    rerank: Preset = "signals"
    model: ModelName | None = None


class ModelChoice(_Request, frozen=True, kw_only=True):
    """The model that requests without `model` shall use; `force` also if its collection holds fewer cases than now."""

    model: ModelName
    force: bool = False


class Feedback(_Request, frozen=True, kw_only=True):
    """What a user did with, or thinks of, an image that a search has shown. `dataset` only where two datasets share ids."""

    search_id: Annotated[str, Meta(min_length=1, max_length=64, description="`search_id` of the answer.")]
    study_id: Annotated[str, Meta(min_length=1, max_length=LIMIT_ID, description="`study_id` of the hit.")]
    image_id: Annotated[str, Meta(min_length=1, max_length=LIMIT_ID, description="`image_id` of the hit.")]
    kind: FeedbackKind
    dataset: Annotated[str, Meta(min_length=1, max_length=200, description="`dataset` of the hit.")] | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every answer has in common: an engine that grows a field must grow it here, too."""


class ReportDocument(_Document, frozen=True, kw_only=True):
    """A report by section; a section that is absent is empty."""

    findings: str
    impression: str
    indication: str
    comparison: str


class HitDocument(_Document, frozen=True, kw_only=True):
    """One image found, its labels and its report.

    `parts` add up to `score`; `signals` are the raw values they were made of: cosines -1..1, less a third of that to
    what is disliked, shares of terms 0..1, BM25 from 0. `percentiles` say what per cent of the collection's unrelated
    pairs are less alike (0..100). `folded` counts the candidates that `collapse` has put behind this one.
    """

    study_id: str
    image_id: str
    dataset: str
    view: View
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
    report: ReportDocument
    study_date: str
    image_sha256: str


class SearchDocument(_Document, frozen=True, kw_only=True):
    """The answer to a search: hits, best first, and what they were found with.

    `facets` has, for each field asked for, the number of images under the filters by value. `search_id` is what feedback
    refers to; null if the search could not be recorded. While an `experiment` runs, a search that names no model may be
    answered by either of its two, or by both in one list; then `model` names both, and a hit's score is one over its rank.
    """

    model: str
    collection: str
    bundle_id: str
    interpreted: dict[str, Any]
    hits: list[HitDocument]
    timings_ms: dict[str, float]
    facets: dict[str, dict[str, int]]
    search_id: str | None = None
    experiment: str | None = None


class BatchDocument(_Document, frozen=True, kw_only=True):
    """The answers to a batch, in the order of its queries."""

    results: list[SearchDocument]


class FacetsDocument(_Document, frozen=True, kw_only=True):
    """Number of images by field and value, the most frequent value first."""

    model: str
    facets: dict[str, dict[str, int]]


class ImageDocument(_Document, frozen=True, kw_only=True):
    """One image of a study."""

    image_id: str
    view: View
    image_sha256: str


class StudyDocument(_Document, frozen=True, kw_only=True):
    """One study as the collection holds it."""

    study_id: str
    dataset: str
    images: list[ImageDocument]
    present: list[str]
    uncertain: list[str]
    absent: list[str]
    qualified: list[str]
    from_indexing: list[str]
    from_text: list[str]
    problems: list[str]
    mesh: list[str]
    report: ReportDocument
    study_date: str


class ModelDocument(_Document, frozen=True, kw_only=True):
    """A model that is installed, or has a collection, or both; what a missing bundle or collection would tell is null.

    `images` are those in the collection, as the last ingest that came to its end counted them; `complete` is whether the
    last one did. `damaged` says what is wrong with a collection that cannot be read.
    """

    key: str
    installed: bool
    active: bool
    collection: str | None
    bundle_id: str | None
    family: str | None
    dim: int | None
    image_size: int | None
    precision: str | None
    licence: str | None
    size_bytes: int | None
    images: int | None
    complete: bool | None
    damaged: str | None = None


class ModelsDocument(_Document, frozen=True, kw_only=True):
    """All models, by name."""

    models: list[ModelDocument]


class FeedbackDocument(_Document, frozen=True, kw_only=True):
    """Feedback that is kept now."""

    search_id: str
    dataset: str
    study_id: str
    image_id: str
    kind: FeedbackKind


class HealthDocument(_Document, frozen=True, kw_only=True, omit_defaults=True):
    """State of the service; when ready, what a search without `model` would use."""

    status: Literal["alive", "ready"]
    model: str | None = None
    collection: str | None = None
    bundle_id: str | None = None
