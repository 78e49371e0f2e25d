"""Copying a collection into an index: page by page, resumable, and verified before it counts as done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from retrieval.errors import BundleMismatch, IndexFailure, SourceDiffers, TransferFailed
from retrieval.index.completeness import PUSH, begin, without
from retrieval.index.interface import (
    Collection,
    FloatArray,
    Index,
    IndexPoint,
    Stored,
    has_no_active,
    readable_active,
)
from retrieval.index.schema import (
    DENSE_VECTORS,
    CollectionLayout,
    CollectionMeta,
    Payload,
    Quantization,
    damaged_collection,
    require_same_salt,
)
from retrieval.progress import Progress
from retrieval.search.calibration import calibrate

PAGE = 200
"""Points that are sent, packed or compared at once: about 14 MB of JSON at three vectors of 1152 dimensions."""

SAMPLE = 256
"""Points whose vectors and payloads are read back and compared."""

MIN_COSINE = 0.999
"""Both engines keep half precision, whose rounding costs about 1e-7; a wrong vector is far below."""


_OTHER_IMAGES = 3
"""Images that must differ before a copy is taken for another archive; fewer may just have changed."""


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be copied: what the collection records of itself, and its `total` points in the order of their ids."""

    meta: CollectionMeta
    total: int
    points: Iterable[IndexPoint]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a collection is loaded: the layout of a new one, with the original's `quantization` if None.

    `recreate` drops what is there first; `pause_optimizer` lets a server build no graph until everything is loaded.
    """

    shards: int = 1
    replicas: int = 1
    quantization: Quantization | None = None
    recreate: bool = False
    pause_optimizer: bool = False

    def layout(self, original: CollectionLayout) -> CollectionLayout:
        """The layout of a new collection."""
        quantization = self.quantization or original.quantization
        return CollectionLayout(shards=self.shards, replicas=self.replicas, quantization=quantization)


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that a content goes to; `made` for it, or not; `was_active`: one was dropped that was active.

    `job` is what copies, `PUSH` or `RESTORE`.
    """

    job: str
    index: Index
    collection: Collection
    made: bool
    was_active: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a copy did, in images.

    `sent` were written, `unchanged` lay there already, `kept` lie there and are not in the original; `verified` were
    read back and compared with it. `counts` are the images by dataset that the collection holds now.
    """

    collection: str
    location: str
    images: int
    sent: int
    unchanged: int
    kept: int
    verified: int
    counts: dict[str, int]
    complete: bool
    active: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The document that the commands print with `--json`."""
        return asdict(self)


def push(
    source: Collection, index: Index, options: LoadOptions = LoadOptions(), *, progress: Progress | None = None
) -> Transfer:
    """Copy `source` into `index`, under the same name; cut off, the same call goes on where it was.

    What the target holds and the source does not is kept, so that several sources can be gathered in one collection.
    The target becomes the active collection of its index if that has none.

    Raises:
        BundleMismatch: the target's collection was built by another bundle and is not to be recreated.
        InvalidRequest: the engine has no such layout. IndexFailure: the source is empty, or an index fails.
        SourceDiffers: most ids that both hold stand for different images. SaltDiffers: for different studies.
        TransferFailed: the copy is not equal to the source.
    """
    content = Content(source.meta, source.count(), _read_points(source))
    target = open_target(content, index, source.name, options, job=PUSH)
    return fill(target, content, pause_optimizer=options.pause_optimizer, progress=progress)


def open_target(content: Content, index: Index, name: str, options: LoadOptions, *, job: str) -> Target:
    """The collection `name` of `index`, made if there is none; all that can be refused is refused before a drop.

    Raises:
        BundleMismatch: there is one, built by another bundle, and it is not to be recreated. CollectionDamaged: likewise.
        SaltDiffers: there is one whose ids were made with another salt.
        InvalidRequest: the engine has no such layout. IndexFailure: there is nothing to copy.
    """
    layout = options.layout(content.meta.layout)
    index.require_layout(layout)
    if content.total == 0:
        raise IndexFailure(f"the collection {name} is empty; there is nothing to copy")
    found = index.collections().get(name)
    damage = index.damaged().get(name)
    was_active = False
    if (found or damage) and options.recreate:
        was_active = readable_active(index) == name
        index.drop(name)
        found = damage = None
    if damage:
        raise damaged_collection(name, index.location, damage)
    if found and found.bundle_id != content.meta.bundle_id:
        raise BundleMismatch(
            f"the collection {name} in {index.location} was built with bundle {found.bundle_id}, the one to be copied "
            f"with {content.meta.bundle_id}; --recreate replaces it"
        )
    if found:
        require_same_salt(found, name, content.meta.salt)
        return Target(job, index, index.open(name), made=False, was_active=False)
    empty = msgspec.structs.replace(content.meta, calibration={}, counts={}, complete=False, pending=(job,))
    return Target(job, index, create_or_open(index, empty, name, layout), made=True, was_active=was_active)


def fill(to: Target, content: Content, *, pause_optimizer: bool = False, progress: Progress | None = None) -> Transfer:
    """Bring `content` into its target, verify it, and only then record it as complete (if the original was).

    Raises:
        TransferFailed: count, payloads or vectors are not those of the original. IndexFailure: an index fails.
    """
    started = time.perf_counter()
    target = to.collection
    before = 0 if to.made else target.count()
    sampled = set(np.linspace(0, content.total - 1, num=min(content.total, SAMPLE), dtype=int).tolist())
    done = there = sent = 0
    samples: list[IndexPoint] = []
    for page in pages(content.points):
        stored = target.fetch([point.point_id for point in page]) if before else {}
        _require_same_images(page, stored, to)
        # The payload alone tells, as it is written last, and holds the hash of the image, the texts and the time.
        changed = [point for point in page if stored.get(point.point_id) != msgspec.to_builtins(point.payload)]
        if changed:
            if not sent:
                begin(target, to.job)
                if pause_optimizer:
                    target.pause_optimizer()
            target.upsert(changed)
        samples += [point for number, point in enumerate(page, done) if number in sampled]
        done, there, sent = done + len(page), there + len(stored), sent + len(changed)
        if progress:
            progress(done, content.total)
    if sent or not target.meta.complete:
        target.optimize()
    kept = before - there
    _verify(target, samples, expected=done + kept)
    meta = _record(target, content.meta, to.job, mixed=kept > 0)
    if to.was_active or (meta.complete and has_no_active(to.index)):
        to.index.activate(target.name)
    return Transfer(
        collection=target.name,
        location=to.index.location,
        images=done,
        sent=sent,
        unchanged=done - sent,
        kept=kept,
        verified=len(samples),
        counts=meta.counts,
        complete=meta.complete,
        active=readable_active(to.index) == target.name,
        seconds=round(time.perf_counter() - started, 2),
    )


def pages(points: Iterable[IndexPoint]) -> Iterator[list[IndexPoint]]:
    """`points` in lists of at most `PAGE`."""
    rest = iter(points)
    while page := list(islice(rest, PAGE)):
        yield page


def to_point(stored: Stored) -> IndexPoint:
    """What has to be written to an index for `stored` to lie there.

    Raises:
        IndexFailure: its payload has not the fields that this version knows, and copying it would lose some.
    """
    try:
        payload = msgspec.convert(stored.payload, Payload)
    except msgspec.ValidationError as error:
        raise IndexFailure(f"the payload of point {stored.point_id} cannot be copied: {error}") from error
    if unknown := stored.payload.keys() - set(Payload.__struct_fields__):
        raise IndexFailure(f"the payload of point {stored.point_id} has fields unknown here: {', '.join(unknown)}")
    return IndexPoint(stored.point_id, stored.vectors, payload.report_text, payload)


def _read_points(collection: Collection) -> Iterator[IndexPoint]:
    return (to_point(stored) for stored in collection.scroll(limit=None, vectors=DENSE_VECTORS))


def create_or_open(index: Index, meta: CollectionMeta, name: str, layout: CollectionLayout) -> Collection:
    """The new collection `name`, or the one that somebody made a moment before.

    Raises:
        IndexFailure: it can neither be made nor is it there. InvalidRequest: the engine has no such layout.
    """
    try:
        return index.create(meta, name=name, layout=layout)
    except IndexFailure:
        if name not in index.collections():
            raise
        return index.open(name)  # another part of the same job was quicker, or the first answer was lost on its way


def _require_same_images(page: Sequence[IndexPoint], stored: dict[str, dict[str, Any]], to: Target) -> None:
    """Refuse to replace most of what the target holds under the ids of `page` by other images.

    Raises:
        SourceDiffers: they come of two archives that were ingested under one dataset name.
    """
    other = [p for p in page if p.point_id in stored and stored[p.point_id]["image_sha256"] != p.payload.image_sha256]
    if len(other) >= _OTHER_IMAGES and 2 * len(other) > len(stored):
        dataset = other[0].payload.dataset
        raise SourceDiffers(
            f"the collection {to.collection.name} in {to.index.location} holds other images under {len(other):,} of "
            f"{len(stored):,} ids of the dataset {dataset} (last filled from "
            f"{to.collection.meta.sources.get(dataset, 'a source that was not recorded')}); ingest one of the two archives "
            "under a name of its own with --dataset NAME, or replace the whole collection with --recreate"
        )


def _record(target: Collection, original: CollectionMeta, job: str, *, mixed: bool) -> CollectionMeta:
    """Let `target` say of itself what the original does, with counts of its own, and with what else it waits for."""
    rest = without(target.meta, job)
    meta = msgspec.structs.replace(
        original,
        complete=original.complete and not rest,
        pending=tuple(dict.fromkeys((*(original.pending or ()), *rest))) if rest else original.pending,
        # The scales of one part say little of the whole.
        calibration=calibrate(target) if mixed else original.calibration,
        counts=dict(sorted(target.facet("dataset").items())),
        layout=target.meta.layout,
        sources=target.meta.sources | original.sources,
        salt=original.salt or target.meta.salt,
    )
    if meta != target.meta:
        target.record(meta)
    return meta


def _verify(target: Collection, samples: Sequence[IndexPoint], *, expected: int) -> None:
    found = target.count()
    if found != expected:
        raise TransferFailed(
            f"the collection {target.name} holds {found:,} images after the copy, expected {expected:,}; is somebody "
            "else writing to it? Run the command again"
        )
    for page in pages(samples):
        stored = target.retrieve([point.point_id for point in page], vectors=DENSE_VECTORS)
        for point in page:
            difference = _difference(point, stored.get(point.point_id))
            if difference:
                raise TransferFailed(
                    f"point {point.point_id} of the copy in {target.name} is not what was sent: {difference}; "
                    "copy it anew with --recreate"
                )


def _difference(point: IndexPoint, stored: Stored | None) -> str:
    """What tells a point that was read back from the one that was sent; empty if nothing does."""
    if stored is None:
        return "it is missing"
    if stored.payload != msgspec.to_builtins(point.payload):
        return "the payloads differ"
    if stored.vectors.keys() != point.vectors.keys():
        return f"it has the vectors {', '.join(sorted(stored.vectors))}, expected {', '.join(sorted(point.vectors))}"
    for name, vector in point.vectors.items():
        cosine = _cosine(vector, stored.vectors[name])
        if not cosine >= MIN_COSINE:
            return f"the cosine of its {name} vectors is {cosine:.4f}, expected at least {MIN_COSINE}"
    return ""


def _cosine(left: FloatArray, right: FloatArray) -> float:
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / norms if norms else 0.0
