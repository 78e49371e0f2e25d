"""The collection that a worker fills: made or opened, marked while it is written, brought to its final form."""

from __future__ import annotations

import msgspec

from ingest.pipeline import StageClock
from ingest.reader import now
from retrieval.bundle import ModelBundle
from retrieval.errors import IndexFailure
from retrieval.index.interface import Collection, Index
from retrieval.index.schema import CollectionLayout, CollectionMeta, collection_name, require_same_bundle
from retrieval.rerank import calibrate


def open_target(index: Index, bundle: ModelBundle, layout: CollectionLayout, *, recreate: bool = False) -> Collection:
    """The collection of `bundle`, made if there is none; with `recreate` what there is is dropped first.

    Raises:
        BundleMismatch: the collection was built by another bundle and `recreate` is not set.
    """
    name = collection_name(bundle.name)
    exists = name in index.collections()
    was_active = index.active() == name
    if exists and recreate:
        index.require_layout(layout)  # what can be refused is refused before anything is lost
        index.drop(name)
        exists = False
    collection = index.open(name) if exists else _create(index, bundle, layout, name)
    require_same_bundle(bundle, collection.meta, name)
    if was_active and not exists:
        index.activate(name)
    return collection


def mark_incomplete(collection: Collection) -> None:
    """Before the first write: whoever finds the collection later can tell that an ingest did not come to its end."""
    if collection.meta.complete:
        collection.record(msgspec.structs.replace(collection.meta, complete=False))


def complete(index: Index, collection: Collection, clock: StageClock, *, waits: bool = False) -> None:
    """Optimise, calibrate and count the collection, record it as complete, and make it active if none is.

    With `waits` it is not complete yet: another of its datasets has to be brought to its end first.
    """
    if not collection.meta.complete:
        with clock("optimise"):
            collection.optimize()
        with clock("calibrate"):
            calibration = calibrate(collection)
        counts = dict(sorted(collection.facet("dataset").items()))
        collection.record(
            msgspec.structs.replace(collection.meta, calibration=calibration, counts=counts, complete=not waits)
        )
    if index.active() is None:
        index.activate(collection.name)


def _create(index: Index, bundle: ModelBundle, layout: CollectionLayout, name: str) -> Collection:
    meta = CollectionMeta(model=bundle.name, bundle_id=bundle.bundle_id, dim=bundle.manifest.dim, created_at=now())
    try:
        return index.create(meta, name=name, layout=layout)
    except IndexFailure:
        if name not in index.collections():
            raise
        return index.open(name)  # another part of the same job was quicker, or an answer was lost on its way
