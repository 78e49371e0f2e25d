"""Request bodies, and answers that only the HTTP API has. Results, studies and models are types of the engine."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar.datastructures import UploadFile
from msgspec import Meta

from retrieval.index.filters import Filters
from retrieval.model_status import ModelStatus
from retrieval.records import LIMIT_ID
from retrieval.search.query import LIMIT_BATCH, LIMIT_K, Facet, Query, Text
from retrieval.search.rerank import Preset
from service.experiments.entities import FeedbackKind, ShownResult

K = Annotated[int, Meta(ge=1, le=LIMIT_K, description="Number of hits.", examples=[10])]
ModelName = Annotated[
    str, Meta(min_length=1, max_length=200, description="A model with a collection.", examples=["phantom-siglip"])
]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body; unknown fields are refused."""


class SearchQuery(Query, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `Query` and the model that answers it; default: the active model."""

    model: ModelName | None = None


class SearchBatch(_Request, frozen=True, kw_only=True):
    """Queries that one model answers together; default: the active model."""

    queries: Annotated[tuple[Query, ...], Meta(min_length=1, max_length=LIMIT_BATCH)]
    model: ModelName | None = None


class FacetQuery(_Request, frozen=True, kw_only=True):
    """Fields whose values are counted over the images that match `filters`."""

    fields: Annotated[tuple[Facet, ...], Meta(min_length=1, max_length=11, examples=[["present", "view"]])]
    filters: Filters = Filters()
    model: ModelName | None = None


class TextQuery(_Request, frozen=True, kw_only=True):
    """A search by text. `rerank` is a preset of weights, or `none` for the image alone."""

    text: Text
    filters: Filters = Filters()
    k: K = 10
    rerank: Preset = "signals"
    model: ModelName | None = None


class ImageQuery(_Request, frozen=True, kw_only=True):
    """A search by image (PNG, JPEG, WebP or DICOM) as a multipart form. `filters` is the JSON text of `Filters`."""

    image: UploadFile
    filters: Annotated[str, Meta(max_length=100_000, examples=['{"all": ["Cardiomegaly"], "view": "frontal"}'])] = "{}"
    k: K = 10
    rerank: Preset = "signals"
    model: ModelName | None = None


class ModelChoice(_Request, frozen=True, kw_only=True):
    """The model to activate; `force` activates it even if its collection holds fewer images than the active one."""

    model: ModelName
    force: bool = False


class Feedback(_Request, frozen=True, kw_only=True):
    """Feedback on an image that a search has shown. `dataset` is needed only if two datasets share ids."""

    search_id: Annotated[str, Meta(min_length=1, max_length=64, description="`search_id` of the answer.")]
    study_id: Annotated[str, Meta(min_length=1, max_length=LIMIT_ID, description="`study_id` of the hit.")]
    image_id: Annotated[str, Meta(min_length=1, max_length=LIMIT_ID, description="`image_id` of the hit.")]
    kind: FeedbackKind
    dataset: Annotated[str, Meta(min_length=1, max_length=200, description="`dataset` of the hit.")] | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer of the HTTP API."""


class BatchDocument(_Document, frozen=True, kw_only=True):
    """The results of a batch, in the order of its queries."""

    results: list[ShownResult]


class FacetsDocument(_Document, frozen=True, kw_only=True):
    """Number of images by field and value, the most frequent value first."""

    model: str
    facets: dict[str, dict[str, int]]


class ModelsDocument(_Document, frozen=True, kw_only=True):
    """All models, by name."""

    models: list[ModelStatus]


class FeedbackDocument(_Document, frozen=True, kw_only=True):
    """Feedback that was saved."""

    search_id: str
    dataset: str
    study_id: str
    image_id: str
    kind: FeedbackKind


class HealthDocument(_Document, frozen=True, kw_only=True, omit_defaults=True):
    """State of the service; when ready, the model and collection that searches without `model` use."""

    status: Literal["alive", "ready"]
    model: str | None = None
    collection: str | None = None
    bundle_id: str | None = None
