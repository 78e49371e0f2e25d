"""The form of a collection: its name, its vectors, its payload and what it records of itself."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from retrieval.bundle import ModelBundle
from retrieval.errors import BundleMismatch

ALIAS = "cxr"
"""The alias that names the active collection."""

_PREFIX = "cxr_"

DENSE_VECTORS = ("image", "findings", "impression")
"""Named vectors of a point: cosine, half precision on disk. The two text vectors are absent where the section is empty."""

SPARSE_VECTOR = "bm25"

KEYWORD_FIELDS = (
    "study_id",
    "dataset",
    "view",
    "present",
    "uncertain",
    "absent",
    "problems",
    "mesh",
    "report_group",
    "image_sha256",
)
"""Payload fields with an index; made before the first point, so that the graph is built with filters in mind."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a point carries beside its vectors; readable in the Qdrant dashboard.

    `mesh` holds each MeSH term and its ancestors (`Opacity`, `Opacity/lung`, `Opacity/lung/base`), so that terms which
    agree only in part still overlap.
    """

    study_id: str
    image_id: str
    dataset: str
    view: str
    present: list[str]
    uncertain: list[str]
    absent: list[str]
    problems: list[str]
    mesh: list[str]
    findings: str
    impression: str
    indication: str
    comparison: str
    report_group: str
    image_sha256: str
    bundle_id: str
    ingested_at: str

    def differs_from(self, stored: dict[str, Any]) -> bool:
        """Whether a stored payload says anything else than this one, the time of ingest aside."""
        mine = msgspec.to_builtins(self)
        return any(stored.get(key) != value for key, value in mine.items() if key != "ingested_at")


class Scale(msgspec.Struct, frozen=True):
    """Where a signal's cosines lie in this collection: `zero` for unrelated pairs, `one` for very like ones."""

    zero: float
    one: float


class CollectionMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection records of itself: the bundle it was built with, and its calibration."""

    format: Literal[1] = 1
    model: str
    bundle_id: str
    dim: int
    created_at: str
    calibration: dict[str, Scale] = {}
    """By `<kind of query>/<vector>`, such as `text/image`; see `retrieval.rerank.calibrate`."""


def collection_name(model: str) -> str:
    """The collection of a model."""
    return _PREFIX + model


def model_of(collection: str) -> str:
    """The model of a collection."""
    return collection.removeprefix(_PREFIX)


def require_same_bundle(bundle: ModelBundle, meta: CollectionMeta, name: str) -> None:
    """Refuse a collection that another bundle built: its vectors would not be comparable.

    Raises:
        BundleMismatch: naming both bundles.
    """
    if meta.bundle_id != bundle.bundle_id:
        raise BundleMismatch(
            f"the collection {name} was built with bundle {meta.bundle_id} of {meta.model}, the installed one is "
            f"{bundle.bundle_id}; ingest anew with --recreate, or install the bundle it was built with"
        )
