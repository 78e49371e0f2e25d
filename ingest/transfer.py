"""Copying a collection into an index: page by page, resumable, and verified before it counts as complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np

from ingest.concurrency import map_in_order
from ingest.copied_points import pages, read_points, require_same_images, verify_copy
from ingest.target_collection import open_or_create
from retrieval.errors import BundleMismatch, IndexFailure
from retrieval.index.completeness import PUSH, pending_after, record_pending_job
from retrieval.index.interface import Collection, Index, IndexPoint, has_no_active, readable_active
from retrieval.index.schema import CollectionLayout, CollectionMeta, Quantization, require_same_salt
from retrieval.progress import Progress, stages_of
from retrieval.search.calibration import calibrate

SAMPLE = 256
"""Points whose vectors and payloads are read back and compared."""


@dataclass(frozen=True, slots=True)
class Content:
    """The points to copy, `total` of them in the order of their ids, and the record of their collection."""

    meta: CollectionMeta
    total: int
    points: Iterable[IndexPoint]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a collection is loaded: the layout of a new one, with the `quantization` of the original if None.

    `recreate` drops an existing collection first.
    """

    shards: int = 1
    replicas: int = 1
    quantization: Quantization | None = None
    recreate: bool = False

    def layout(self, original: CollectionLayout) -> CollectionLayout:
        """The layout of a new collection."""
        quantization = self.quantization or original.quantization
        return CollectionLayout(shards=self.shards, replicas=self.replicas, quantization=quantization)


@dataclass(frozen=True, slots=True)
class Target:
    """The collection that receives a copy. `is_new`: it was made for it; `was_active`: it replaces one that was active.

    `job` is the kind of copy, `PUSH` or `RESTORE`.
    """

    job: str
    index: Index
    collection: Collection
    is_new: bool
    was_active: bool


@dataclass(frozen=True, slots=True)
class TransferSummary:
    """Result of a copy, in images.

    `sent` were written, `unchanged` were there already, `kept` are in the target and not in the original; `verified` were
    read back and compared with the original. `counts` are the images by dataset in the target afterwards.
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
    original: Collection, index: Index, options: LoadOptions = LoadOptions(), *, progress: Progress | None = None
) -> TransferSummary:
    """Copy `original` into `index` under the same name. After an interruption the same call continues the copy.

    Points that only the target holds are kept, so that several sources can be gathered in one collection. If `index` has no
    active collection, the target becomes the active one.

    Raises:
        BundleMismatch: another bundle built the target, and it is not to be recreated.
        InvalidRequest: the engine does not support the layout. IndexFailure: the original is empty, or an index fails.
        SourceDiffers: most ids that both hold stand for different images. SaltDiffers: for different studies.
        TransferFailed: the copy differs from the original.
    """
    content = Content(original.meta, original.count(), read_points(original))
    target = open_copy_target(content, index, original.name, options, job=PUSH)
    return fill(target, content, progress=progress)


def open_copy_target(content: Content, index: Index, name: str, options: LoadOptions, *, job: str) -> Target:
    """Open or make the collection `name` of `index` for `content`. Invalid requests are refused before a drop.

    Raises:
        BundleMismatch: another bundle built it, and it is not to be recreated. CollectionDamaged: likewise.
        SaltDiffers: its ids were made with another salt.
        InvalidRequest: the engine does not support the layout. IndexFailure: there is nothing to copy.
    """
    layout = options.layout(content.meta.layout)
    index.require_layout(layout)
    if content.total == 0:
        raise IndexFailure(f"the collection {name} is empty; there is nothing to copy")
    empty = msgspec.structs.replace(content.meta, calibration={}, counts={}, complete=False, pending=(job,))
    opened = open_or_create(index, empty, name, layout, recreate=options.recreate)
    found = opened.collection.meta
    if found.bundle_id != content.meta.bundle_id:
        raise BundleMismatch(
            f"the collection {name} in {index.location} was built with bundle {found.bundle_id}, the one to be copied "
            f"with {content.meta.bundle_id}; --recreate replaces it"
        )
    require_same_salt(found, name, content.meta.salt)
    return Target(job, index, opened.collection, is_new=opened.is_new, was_active=opened.was_active)


def fill(target: Target, content: Content, *, progress: Progress | None = None) -> TransferSummary:
    """Copy `content` into `target` and verify it; then record the copy as complete, if the original is.

    Raises:
        TransferFailed: count, payloads or vectors differ from the original. IndexFailure: an index fails.
    """
    started = time.perf_counter()
    collection = target.collection
    before = 0 if target.is_new else collection.count()
    sampled = set(np.linspace(0, content.total - 1, num=min(content.total, SAMPLE), dtype=int).tolist())
    sender = _Sender(target, is_empty=before == 0, images=content.total - before)
    done = there = sent = 0
    samples: list[IndexPoint] = []
    with closing(map_in_order(sender.send, pages(content.points), collection.writers)) as handled:
        for page, stored, changed in handled:
            samples += [point for number, point in enumerate(page, done) if number in sampled]
            done, there, sent = done + len(page), there + stored, sent + changed
            if progress:
                progress(done, content.total)
    if sent or not collection.meta.complete:
        collection.optimize(stages_of(progress))
    kept = before - there
    verify_copy(collection, samples, expected=done + kept)
    meta = _record(collection, content.meta, target.job, mixed=kept > 0)
    if target.was_active or (meta.complete and has_no_active(target.index)):
        target.index.activate(collection.name)
    return TransferSummary(
        collection=collection.name,
        location=target.index.location,
        images=done,
        sent=sent,
        unchanged=done - sent,
        kept=kept,
        verified=len(samples),
        counts=meta.counts,
        complete=meta.complete,
        active=readable_active(target.index) == collection.name,
        seconds=round(time.perf_counter() - started, 2),
    )


class _Sender:
    """Sends pages that the target lacks; several threads may do so at once."""

    def __init__(self, target: Target, *, is_empty: bool, images: int) -> None:
        """`is_empty`: the target has no point yet, so that it need not be compared. It lacks about `images`."""
        self._target = target
        self._is_empty = is_empty
        self._images = images
        self._opening = threading.Lock()
        self._is_open = False

    def send(self, page: list[IndexPoint]) -> tuple[list[IndexPoint], int, int]:
        """`page`, the number of its points that the target had, and the number of those that were written."""
        collection = self._target.collection
        stored = {} if self._is_empty else collection.fetch([point.point_id for point in page])
        require_same_images(page, stored, collection, self._target.index.location)
        # The payload is written last and holds the hash of the image, the texts and the time: it alone shows a change.
        changed = [point for point in page if stored.get(point.point_id) != msgspec.to_builtins(point.payload)]
        if changed:
            self._open()
            collection.upsert(changed)
        return page, len(stored), len(changed)

    def _open(self) -> None:
        with self._opening:
            if not self._is_open:
                record_pending_job(self._target.collection, self._target.job)
                self._target.collection.begin_load(self._images)
                self._is_open = True


def _record(target: Collection, original: CollectionMeta, job: str, *, mixed: bool) -> CollectionMeta:
    """Record in `target` what the original records, with the target's own counts and the other jobs it waits for."""
    rest = pending_after(target.meta, job)
    meta = msgspec.structs.replace(
        original,
        complete=original.complete and not rest,
        pending=tuple(dict.fromkeys((*(original.pending or ()), *rest))) if rest else original.pending,
        # The scales of one part say little about the whole.
        calibration=calibrate(target) if mixed else original.calibration,
        counts=dict(sorted(target.facet("dataset").items())),
        layout=target.meta.layout,
        sources=target.meta.sources | original.sources,
        salt=original.salt or target.meta.salt,
    )
    if meta != target.meta:
        target.record(meta)
    return meta
