"""The collection that a worker fills: it is opened or created, marked as incomplete, and completed at the end."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ingest.image_reader import now
from ingest.ledger import Ledger
from ingest.stage_clock import StageClock
from retrieval.errors import IndexFailure, SourceError
from retrieval.imaging.decode import PIXEL_RULES
from retrieval.index.completeness import ingest_job
from retrieval.index.interface import Collection, Index, has_no_active, readable_active
from retrieval.index.schema import (
    CollectionLayout,
    CollectionMeta,
    collection_name,
    damaged_collection,
    require_same_bundle,
)
from retrieval.model.bundle import ModelBundle
from retrieval.progress import StageProgress
from retrieval.records import Source, studies_of
from retrieval.search.calibration import calibrate


@dataclass(frozen=True, slots=True)
class OpenedCollection:
    """An open collection. `is_new`: it was made just now; `was_active`: it replaces one that was active."""

    collection: Collection
    is_new: bool
    was_active: bool


def open_or_create(
    index: Index, meta: CollectionMeta, name: str, layout: CollectionLayout, *, recreate: bool = False
) -> OpenedCollection:
    """Open the collection `name`, or make it with the record `meta`; `recreate` drops an existing one first.

    Raises:
        CollectionDamaged: it cannot be read, and `recreate` is not set.
        InvalidRequest: the engine does not support `layout`; nothing was dropped. IndexFailure: it cannot be made.
    """
    exists, damage = name in index.collections(), index.damaged().get(name)
    was_active = False
    if (exists or damage) and recreate:
        index.require_layout(layout)
        was_active = readable_active(index) == name
        index.drop(name)
        exists, damage = False, None
    if damage:
        raise damaged_collection(name, index.location, damage)
    if exists:
        return OpenedCollection(index.open(name), is_new=False, was_active=False)
    return OpenedCollection(_create(index, meta, name, layout), is_new=True, was_active=was_active)


def _create(index: Index, meta: CollectionMeta, name: str, layout: CollectionLayout) -> Collection:
    try:
        return index.create(meta, name=name, layout=layout)
    except IndexFailure:
        if name not in index.collections():
            raise
        return index.open(name)  # another part of the same ingest made it, or the server's first answer was lost


def open_target(
    index: Index, bundle: ModelBundle, layout: CollectionLayout, *, job: str, recreate: bool = False
) -> Collection:
    """The collection that `bundle` fills, made for `job` if there is none; `recreate` drops an existing one first.

    Raises:
        BundleMismatch: another bundle built the collection, and `recreate` is not set. CollectionDamaged: likewise.
    """
    name = collection_name(bundle.name)
    meta = CollectionMeta(
        model=bundle.name, bundle_id=bundle.bundle_id, dim=bundle.manifest.dim, created_at=now(), pending=(job,)
    )
    opened = open_or_create(index, meta, name, layout, recreate=recreate)
    require_same_bundle(bundle, opened.collection.meta, name)
    if opened.was_active:
        index.activate(name)
    return opened.collection


def adopt_unfinished(collection: Collection, ledger: Ledger) -> None:
    """Record the pending ingests of a collection that an earlier version left incomplete; only the ledger knows them."""
    meta = collection.meta
    if meta.pending is None and not meta.complete:
        collection.record(msgspec.structs.replace(meta, pending=tuple(map(ingest_job, ledger.unfinished()))))


def record_pixel_rules(collection: Collection, *datasets: str) -> None:
    """Record that all images of `datasets` were read by the pixel rules of this version."""
    known = collection.meta.pixel_rules
    rules = known | dict.fromkeys(datasets, PIXEL_RULES)
    if rules != known:
        collection.record(msgspec.structs.replace(collection.meta, pixel_rules=rules))


def complete(
    index: Index,
    collection: Collection,
    clock: StageClock,
    pending: tuple[str, ...] = (),
    *,
    progress: StageProgress,
) -> None:
    """Optimize, calibrate and count the collection, and record the jobs that are still `pending`.

    It is complete if no job is pending. It becomes active if the index has no active collection.
    """
    if not collection.meta.complete:
        progress.stage("Optimizing the index")
        with clock("optimise"):
            collection.optimize(progress)
        progress.stage("Calibrating scores")
        with clock("calibrate"):
            calibration = calibrate(collection)
        counts = dict(sorted(collection.facet("dataset").items()))
        collection.record(
            msgspec.structs.replace(
                collection.meta, calibration=calibration, counts=counts, complete=not pending, pending=pending
            )
        )
    if has_no_active(index):
        index.activate(collection.name)


def require_images(source: Source, *, recreate: bool, may_be_empty: bool) -> None:
    """Refuse an empty source before anything is changed: it may be a share that is not mounted.

    Raises:
        SourceError: the source has no image and `may_be_empty` is false; or `recreate` is set and no image can be found.
    """
    if source.image_count() == 0 and not may_be_empty:
        raise SourceError(
            f"the source of {source.dataset} is empty: no file or row was found, so nothing was changed; is it mounted? "
            "If its images are gone for good, --prune --allow-shrink removes them from the index"
        )
    if recreate and next(studies_of(source), None) is None:
        raise SourceError(
            f"no image of the source of {source.dataset} can be found, so the collection was not dropped; is it mounted?"
        )
