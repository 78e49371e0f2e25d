"""The form of a collection: its name, its vectors, its payload and what it records of itself."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from retrieval.errors import BundleMismatch, CollectionDamaged, SaltDiffers
from retrieval.model.bundle import ModelBundle

ALIAS = "cxr"
"""The alias that names the active collection."""

PREVIOUS = "cxr_previous"
"""The alias that names the collection which was active before."""

PREFIX = "cxr_"
"""How the name of a collection begins; the rest is its model."""

DENSE_VECTORS = ("image", "findings", "impression")
"""Named vectors of a point: cosine, half precision on disk. The two text vectors are absent where the section is empty."""

TEXT_VECTORS = ("findings", "impression")

SPARSE_VECTOR = "bm25"

EXACT_UP_TO_KB = 65_536
"""Kilobytes of one named vector up to which a search compares with every point: 28,000 images of 1,152 dimensions.

Below that a graph is no faster and finds less: on 6,677 images both take a millisecond, and of the 100 nearest the graph
finds eight in ten (benchmarks/results).
"""

EXACT_FILTERED_UP_TO_KB = 10_000
"""Kilobytes of one named vector, among the points that a filter leaves, up to which they are all compared.

Where there is a graph and a filter leaves more, the graph is followed (benchmarks/results, "Index").
"""

INT8_FROM_KB = 1_000
"""Kilobytes of one named vector from which an embedded collection has int8 copies: 445 images of 1,152 dimensions.

A server makes them where it builds a graph, from `EXACT_UP_TO_KB` on.
"""

_RESCORED = 200


def oversampling(limit: int) -> float:
    """How many times `limit` points, at least 1, an int8 search scores again in half precision: 2, or more to make it 200.

    So many are needed to find all of the nearest where no graph is followed (benchmarks/results, "int8 copies").
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
"""Payload fields with an index; made before the first point, so that the graph is built with filters in mind."""

DATE_FIELD = "study_date"
"""The payload field that is indexed as a date."""


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a point carries beside its vectors; readable in the Qdrant dashboard.

    `mesh` holds each MeSH term and its ancestors (`Opacity`, `Opacity/lung`, `Opacity/lung/base`), so that terms which
    agree only in part still overlap. `qualified` holds each present finding with each of its qualifiers, flat
    (`Opacity/left`, `Lung Opacity/left`, `Opacity/base`); `sides`, `sites` and `severities` are the qualifiers alone.
    `from_indexing` and `from_text` name the labels that the indexing and the report's words support; a label may have
    both. `study_date` is `YYYY-MM-DD`, or the empty string.
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

    @property
    def report_text(self) -> str:
        """What BM25 indexes of the report."""
        return f"{self.findings} {self.impression}".strip()

    def differs_from(self, stored: dict[str, Any]) -> bool:
        """Whether a stored payload says anything else than this one, the time of ingest aside."""
        mine = msgspec.to_builtins(self)
        return any(stored.get(key) != value for key, value in mine.items() if key != "ingested_at")


class Scale(msgspec.Struct, frozen=True):
    """Where a signal's cosines lie in this collection: `zero` for unrelated pairs, `one` for very like ones.

    `quantiles` are the cosines of unrelated pairs at the percentiles of
    `retrieval.search.calibration.PERCENTILES`; none in a collection of an earlier version.
    """

    zero: float
    one: float
    quantiles: tuple[float, ...] = ()


Quantization = Literal["none", "int8"]


class CollectionLayout(msgspec.Struct, frozen=True, kw_only=True):
    """How a new collection is laid out. Only a server has shards and copies of them (`replicas`), both at least 1.

    `int8` keeps a copy of each vector at half its size in memory beside the half-precision one and searches there first;
    the nearest are scored again in half precision, see `oversampling`.
    """

    shards: int = 1
    replicas: int = 1
    quantization: Quantization = "int8"


class CollectionMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection records of itself: the bundle it was built with, its scales, its layout, what an ingest left.

    `counts` are images by dataset. `complete` is false from the first write of a job until that job has come to its
    end, so that a collection whose worker was killed is not taken for a whole one. `pending` are the jobs that have not,
    see `retrieval.index.completeness`; None where an earlier version wrote it.
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
    """By dataset, in words, where it was last filled from; none in a collection of an earlier version."""
    salt: str = ""
    """Fingerprint of the salt that the ids of DICOM studies were made with; empty where there is none of them yet."""
    pixel_rules: dict[str, int] = {}
    """By dataset, the `PIXEL_RULES` by which all its images were read; none in a collection of an earlier version."""


def moved_alias(aliases: dict[str, str], name: str) -> dict[str, str]:
    """`aliases` after the active one has been moved to the collection `name`; what it named becomes the previous one."""
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
    """Refuse a collection that another bundle built: its vectors would not be comparable.

    Raises:
        BundleMismatch: naming both bundles.
    """
    if meta.bundle_id != bundle.bundle_id:
        raise BundleMismatch(
            f"the collection {name} was built with bundle {meta.bundle_id} of {meta.model}, the installed one is "
            f"{bundle.bundle_id}; ingest anew with --recreate, or install the bundle it was built with"
        )


def require_same_salt(meta: CollectionMeta, name: str, salt: str) -> None:
    """Refuse to bring ids made with another salt into a collection: one study would get two.

    Raises:
        SaltDiffers: naming both fingerprints, and how to bring the salt along.
    """
    if salt and meta.salt and salt != meta.salt:
        raise SaltDiffers(
            f"the DICOM ids of the collection {name} were made with the salt {meta.salt} (its fingerprint), these are made "
            f"with {salt}: one study would get two ids. Copy the file `salt` of the home that filled the collection to "
            "<CXR_HOME>/salt here, readable by its owner only (chmod 600); what was ingested with the salt that is replaced "
            "needs --recreate then"
        )


def damaged_collection(name: str, location: str, damage: str) -> CollectionDamaged:
    """The error for a collection whose files are not what was written."""
    return CollectionDamaged(
        f"the collection {name} in {location} is damaged: {damage}; `cxr ingest` with {model_of(name)} and --recreate "
        f"builds it anew, `cxr drop {model_of(name)} --force` removes it"
    )
