"""The shapes at the wire. Responses mirror `SearchResult.to_dict()` and its kin, which the command line prints, too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar.datastructures import UploadFile
from msgspec import Meta

from retrieval.index.filters import Filters
from retrieval.records import View

K_LIMIT = 100
TEXT_LIMIT = 2000

Rerank = Literal["signals", "none"]
K = Annotated[int, Meta(ge=1, le=K_LIMIT, description="Number of hits.", examples=[10])]
QueryText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TEXT_LIMIT,
        pattern=r"\S",
        description="What to look for, in words.",
        examples=["cardiomegaly with pleural effusion"],
    ),
]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=200, description="A model with a collection.", examples=["phantom-siglip"])
]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every request body has in common: a field this version does not know is refused."""


class TextQuery(_Request, frozen=True, kw_only=True):
    """A search by words. `model` is the active one if absent; `rerank` orders by the five signals or by similarity."""

    text: QueryText
    filters: Filters = Filters()
    k: K = 10
    rerank: Rerank = "signals"
    model: ModelName | None = None


class ImageQuery(_Request, frozen=True, kw_only=True):
    """A search by image (PNG, JPEG or WebP), as a multipart form. `filters` is JSON text of the shape `Filters`."""

    image: UploadFile
    filters: Annotated[str, Meta(max_length=100_000, examples=['{"all": ["Cardiomegaly"], "view": "frontal"}'])] = "{}"
    k: K = 10
    rerank: Rerank = "signals"
    model: ModelName | None = None


class ModelChoice(_Request, frozen=True, kw_only=True):
    """The model that requests without `model` shall use; `force` also if its collection holds fewer cases than now."""

    model: ModelName
    force: bool = False


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every answer has in common: an engine that grows a field must grow it here, too."""


class ReportDocument(_Document, frozen=True, kw_only=True):
    """A report by section; a section that is absent is empty."""

    findings: str
    impression: str
    indication: str
    comparison: str


class HitDocument(_Document, frozen=True, kw_only=True):
    """One image found. `parts` add up to `score`; `signals` are the raw values they were made of."""

    score: float
    parts: dict[str, float]
    signals: dict[str, float]
    study_id: str
    image_id: str
    view: View
    dataset: str
    present: list[str]
    uncertain: list[str]
    problems: list[str]
    mesh: list[str]
    report: ReportDocument
    image_sha256: str


class SearchDocument(_Document, frozen=True, kw_only=True):
    """The answer to a search: hits, best first, and what they were found with."""

    model: str
    collection: str
    bundle_id: str
    interpreted: dict[str, Any]
    hits: list[HitDocument]
    timings_ms: dict[str, float]


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
    problems: list[str]
    mesh: list[str]
    report: ReportDocument


class ModelDocument(_Document, frozen=True, kw_only=True):
    """A model that is installed, or has a collection, or both; what a missing bundle or collection would tell is null.

    `images` are those in the collection, as the last ingest that came to its end counted them; `complete` is whether the
    last one did.
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


class ModelsDocument(_Document, frozen=True, kw_only=True):
    """All models, by name."""

    models: list[ModelDocument]


class HealthDocument(_Document, frozen=True, kw_only=True, omit_defaults=True):
    """State of the service; when ready, what a search without `model` would use."""

    status: Literal["alive", "ready"]
    model: str | None = None
    collection: str | None = None
    bundle_id: str | None = None
