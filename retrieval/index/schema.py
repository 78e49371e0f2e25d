"""The form of a collection: name, vectors, payload, and its record."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from retrieval.errors import BundleMismatch, CollectionDamaged, SaltDiffers
from retrieval.model.bundle import ModelBundle

ALIAS = "cxr"
"""Alias of the active collection."""

PREVIOUS = "cxr_previous"
"""Alias of the previously active collection."""

PREFIX = "cxr_"
"""Prefix of the names of collections; the rest is the model."""

DENSE_VECTORS = ("image", "findings", "impression")
"""Named vectors of a point: cosine, half precision on disk. A text vector is missing if its section is empty."""

TEXT_VECTORS = ("findings", "impression")

SPARSE_VECTOR = "bm25"

EXACT_UP_TO_KB = 65_536
"""Kilobytes of one named vector up to which a search compares all points: 28,000 images of 1,152 dimensions.

Below that a graph is no faster and finds less: with 6,677 images both take 1 ms, and the graph finds 80 of the 100 nearest
(benchmarks/results).
"""

EXACT_FILTERED_UP_TO_KB = 10_000
"""Kilobytes of one named vector, among the points that match a filter, up to which all of these are compared.

If more points match and there is a graph, the graph is used (benchmarks/results, "Index").
"""

INT8_FROM_KB = 1_000
"""Kilobytes of one named vector from which an embedded collection has int8 copies: 445 images of 1,152 dimensions.

A server makes them in segments of this size.
"""

SEGMENT_KB = 1 << 20
"""Kilobytes of one named vector in a segment of a server, and so in one graph: a million images of 512 dimensions."""

LOADED_SEGMENT_IMAGES = 8_192
"""Images in each of the segments that a server fills during a load: its BM25 index takes longer for each further image.

The whole list of a common word is walked for each image that has the word (benchmarks/results/log/server-load.md).
"""

LOADED_SEGMENTS = 64
"""Most segments that a shard gets during a load; for larger loads each takes more images. A segment has many open files."""


def vector_kb(dim: int, images: float) -> float:
    """Kilobytes of one named vector of `images`, in half precision."""
    return images * dim * 2 / 1024


_RESCORED = 200


def oversampling(limit: int) -> float:
    """Factor by which an int8 search for `limit` points (at least 1) rescores more points in half precision.

    It is 2, or more to rescore 200 points: then a search without a graph finds all nearest points (benchmarks/results,
    "int8 copies").
    """
    return max(2.0, _RESCORED / limit)


KEYWORD_FIELDS = (
    "study_id",
    "dataset",
    "view",
    "present",
    "uncertain",
    "absent",
    "problems",
    "mesh",
    "qualified",
    "sides",
    "sites",
    "severities",
    "report_group",
    "image_sha256",
)
"""Payload fields with an index. It exists before the first point, so that the graph is built for filters."""

LINKED_FIELDS = ("dataset", "view", "present", "uncertain", "absent", "qualified", "sides", "sites", "severities")
"""Keyword fields for whose values a graph of a server gets links: those that filters name, with many images of a value.

Links for all fields took 37 of 98 s of building (benchmarks/results/log/server-load.md), and no search follows the others.
"""

DATE_FIELD = "study_date"
"""The payload field with a date index."""

PAYLOAD_INDEXES = dict.fromkeys(KEYWORD_FIELDS, "keyword") | {DATE_FIELD: "datetime"}
"""The type of the payload index of each field that has one."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a point besides its vectors; readable in the Qdrant dashboard.

    `mesh` has each MeSH term and its ancestors (`Opacity`, `Opacity/lung`, `Opacity/lung/base`), so that terms which agree
    in part overlap. `qualified` has each present finding with each of its qualifiers (`Opacity/left`,
    `Lung Opacity/left`, `Opacity/base`); `sides`, `sites` and `severities` have the qualifiers alone. `from_indexing` and
    `from_text` list the labels that come from the indexing and from the report's text; a label may be in both.
    `study_date` is `YYYY-MM-DD`, or the empty string. `thumbnail_url` is the absolute address of the thumbnail, which the
    dashboard shows as a picture; without `CXR_PUBLIC_URL` a payload has no such field.
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
    qualified: list[str] = []
    sides: list[str] = []
    sites: list[str] = []
    severities: list[str] = []
    from_indexing: list[str] = []
    from_text: list[str] = []
    findings: str
    impression: str
    indication: str
    comparison: str
    study_date: str = ""
    report_group: str
    image_sha256: str
    bundle_id: str
    ingested_at: str
    thumbnail_url: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def report_text(self) -> str:
        """The text that BM25 indexes: findings and impression."""
        return f"{self.findings} {self.impression}".strip()

    def differs_from(self, stored: dict[str, Any]) -> bool:
        """Whether `stored` differs from this payload, apart from the time of ingest."""
        mine = msgspec.to_builtins(self)
        return any(stored.get(key) != mine.get(key) for key in self.__struct_fields__ if key != "ingested_at")


class Scale(msgspec.Struct, frozen=True):
    """Scale of the cosines of a signal in a collection: `zero` for unrelated pairs, `one` for very similar ones.

    `quantiles` are the cosines of unrelated pairs at the percentiles of `retrieval.search.calibration.PERCENTILES`; empty
    in a collection of an earlier version.
    """

    zero: float
    one: float
    quantiles: tuple[float, ...] = ()


Quantization = Literal["none", "int8"]


class CollectionLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Layout of a new collection. Only a server has several shards and `replicas` of them; both are at least 1.

    `int8` keeps an int8 copy of each vector in memory, at half the size of the half-precision one, and searches it first;
    the nearest points are rescored in half precision, see `oversampling`.
    """

    shards: int = 1
    replicas: int = 1
    quantization: Quantization = "int8"


class CollectionMeta(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a collection: the bundle that built it, its scales, its layout, the state of its ingests.

    `counts` are images by dataset. `complete` is false from the first write of a job until the job is finished, so that
    a collection whose worker was killed does not count as complete. `pending` are the unfinished jobs, see
    `retrieval.index.completeness`; None in a collection of an earlier version.
    """

    format: Literal[1] = 1
    model: str
    bundle_id: str
    dim: int
    created_at: str
    calibration: dict[str, Scale] = {}
    """By `<kind of query>/<vector>`, such as `text/image`; see `retrieval.search.calibration.calibrate`."""
    counts: dict[str, int] = {}
    complete: bool = False
    pending: tuple[str, ...] | None = None
    layout: CollectionLayout = CollectionLayout()
    sources: dict[str, str] = {}
    """Description of the last source by dataset; empty in a collection of an earlier version."""
    salt: str = ""
    """Fingerprint of the salt of the ids of DICOM studies; empty if there are none yet."""
    pixel_rules: dict[str, int] = {}
    """The `PIXEL_RULES` of all images by dataset; empty in a collection of an earlier version."""


def moved_alias(aliases: dict[str, str], name: str) -> dict[str, str]:
    """`aliases` after the collection `name` was made active; the active one before becomes the previous one."""
    active = aliases.get(ALIAS)
    moved = aliases | {ALIAS: name}
    return moved | {PREVIOUS: active} if active and active != name else moved


def collection_name(model: str) -> str:
    """The collection of a model."""
    return PREFIX + model


def model_of(collection: str) -> str:
    """The model of a collection."""
    return collection.removeprefix(PREFIX)


def require_same_bundle(bundle: ModelBundle, meta: CollectionMeta, name: str) -> None:
    """Check that `bundle` built the collection; otherwise the vectors would not be comparable.

    Raises:
        BundleMismatch: names both bundles.
    """
    if meta.bundle_id != bundle.bundle_id:
        raise BundleMismatch(
            f"the collection {name} was built with bundle {meta.bundle_id} of {meta.model}, the installed one is "
            f"{bundle.bundle_id}; ingest again with --recreate, or install the bundle that built it"
        )


def require_same_salt(meta: CollectionMeta, name: str, salt: str) -> None:
    """Check that ids made with `salt` fit a collection; with another salt one study would get two ids.

    Raises:
        SaltDiffers: names both fingerprints, and how to copy the salt.
    """
    if salt and meta.salt and salt != meta.salt:
        raise SaltDiffers(
            f"the DICOM ids of the collection {name} were made with the salt {meta.salt} (its fingerprint), these are made "
            f"with {salt}: one study would get two ids. Copy the file `salt` of the home that filled the collection to "
            "<CXR_HOME>/salt here, readable by its owner only (chmod 600); collections ingested with the replaced salt then "
            "need --recreate"
        )


def damaged_collection(name: str, location: str, damage: str) -> CollectionDamaged:
    """The error for a collection with damaged files."""
    return CollectionDamaged(
        f"the collection {name} in {location} is damaged: {damage}; `cxr ingest` with {model_of(name)} and --recreate "
        f"builds it again, `cxr drop {model_of(name)} --force` removes it"
    )
