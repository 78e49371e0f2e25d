"""The models of a home: opens, activates and drops them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.errors import (
    BundleError,
    CountsDiffer,
    IndexFailure,
    IndexLocked,
    IndexUnreachable,
    ModelActive,
    NoCollection,
)
from retrieval.file_permissions import restrict_home
from retrieval.index.completeness import why_incomplete
from retrieval.index.deadline import one_search
from retrieval.index.engines import open_index
from retrieval.index.interface import Index, readable_active
from retrieval.index.schema import CollectionMeta, collection_name, damaged_collection, model_of, require_same_bundle
from retrieval.model.bundle import ModelBundle, find_bundle, installed_bundles
from retrieval.model.encoder import Encoder
from retrieval.model_status import ModelStatus, describe_model
from retrieval.search.retriever import Retriever
from retrieval.settings import Device, RetrievalSettings

_FORCE_HINT = 'switch anyway with --force (over HTTP: "force": true)'
_log = logging.getLogger(__name__)


class Catalog:
    """Opens each model once and keeps it open. Safe from several threads."""

    def __init__(
        self, settings: RetrievalSettings | None = None, *, make_encoder: Callable[..., Encoder] = Encoder
    ) -> None:
        """Open the index of `settings`; `make_encoder` makes the encoders and takes the arguments of `Encoder`."""
        self.settings = settings or RetrievalSettings()
        self._make_encoder = make_encoder
        for path in restrict_home(self.settings.home, self.settings.index_folder):
            _log.warning("other users of this machine could read %s; now only its owner can", path)
        self.index: Index = open_index(self.settings)
        self._retrievers: dict[str, Retriever] = {}
        self._lock = threading.Lock()

    def models(self) -> list[ModelStatus]:
        """All models that are installed or have a collection, by name. Opens no collection and verifies no checksum."""
        collections = {model_of(name): meta for name, meta in self.index.collections().items()}
        damaged = {model_of(name): damage for name, damage in self.index.damaged().items()}
        bundles = installed_bundles(self.settings.models_dir)
        active = readable_active(self.index)
        return [
            describe_model(
                name,
                bundle=self._bundle(name) if name in bundles else None,
                meta=collections.get(name),
                damaged=damaged.get(name),
                active=collection_name(name) == active,
            )
            for name in sorted({*bundles, *collections, *damaged})
        ]

    def _bundle(self, name: str) -> ModelBundle | None:
        try:
            return find_bundle(name, self.settings.models_dir, verify=False)
        except BundleError as error:  # a damaged bundle must not hide the others
            _log.warning("%s", error)
            return None

    @one_search()
    def retriever(self, model: str | None = None) -> Retriever:
        """The retriever of `model`, or of the active model, which is looked up at each call.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it, or no model is active.
            BundleMismatch: another bundle built the collection. IndexLocked: another process uses it.
        """
        name = model or self.active_model()
        if name is None:
            raise NoCollection(
                f"no model is active in {self.index.location}; run `cxr demo`, or `cxr ingest` and `cxr use MODEL`",
                public="no model is active; run `cxr demo`, or `cxr ingest` and `cxr use MODEL`",
            )
        # Another process may have rebuilt or extended the collection of a server since. Outside the lock, since a server
        # may be slow.
        collection = self.index.open(collection_name(name)) if name in self._retrievers else None
        with self._lock:
            known = self._retrievers.get(name)
            if known is None or (collection and collection.meta.bundle_id != known.bundle.bundle_id):
                bundle = find_bundle(name, self.settings.models_dir)
                encoder = self._make_encoder(bundle, device=self.settings.device, threads=self.settings.threads)
                self._retrievers[name] = Retriever(
                    encoder, collection or self.index.open(collection_name(name)), home=self.settings.home
                )
            elif collection and collection.meta != known.collection.meta:
                self._retrievers[name] = Retriever(known.encoder, collection, home=self.settings.home)
            return self._retrievers[name]

    def active_model(self) -> str | None:
        """The model whose collection is active."""
        collection = self.index.active()
        return model_of(collection) if collection else None

    def activate(self, model: str, *, force: bool = False) -> ModelStatus:
        """Make `model` the active one, in one step; later requests without a model use it.

        Its collection must be complete and have at least as many images of each dataset as the active one, so that the
        switch loses no case; `force` skips this check. Needs no lock: both collections record the counts of the last
        complete ingest.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it.
            BundleMismatch: another bundle built its collection. CollectionDamaged: it cannot be read.
            CountsDiffer: the collection is incomplete or lacks images, and `force` is not set.
        """
        bundle = find_bundle(model, self.settings.models_dir)
        name = collection_name(model)
        collections = self.index.collections()
        if damage := self.index.damaged().get(name):
            raise damaged_collection(name, self.index.location, damage)
        meta = _require(collections, name, self.index)
        require_same_bundle(bundle, meta, name)
        active = readable_active(self.index)
        if not force and active != name:
            _require_no_loss(meta, collections.get(active) if active else None)
        self.index.activate(name)
        return describe_model(model, bundle=bundle, meta=meta, active=True)

    def activate_previous(self) -> ModelStatus:
        """Make the previously active model active again, without a check of counts.

        Raises:
            NoCollection: none was active before, or its collection was removed.
            UnknownModel: its bundle was removed. BundleMismatch: another bundle built its collection.
        """
        name = self.index.previous()
        if name is None:
            raise NoCollection(
                f"no other model was active before in {self.index.location}, or its collection was removed",
                public="no other model was active before, or its collection was removed",
            )
        return self.activate(model_of(name), force=True)

    def drop(
        self, model: str, *, force: bool = False, confirm: Callable[[dict[str, int]], bool] | None = None
    ) -> dict[str, int] | None:
        """Remove the collection of `model`; returns the images by dataset that it had. Bundle and thumbnails stay.

        Args:
            model: The model; its bundle need not be installed.
            force: Remove it even if it is active; then no model is active.
            confirm: Called with the images by dataset. If it returns False, nothing is removed and the result is None.

        Raises:
            NoCollection: the model has no collection. ModelActive: it is active, and `force` is not set.
            AliasDamaged: it may be active, and `force` is not set.
            IndexLocked: another process has the collection open.
        """
        name = collection_name(model)
        known = self.index.collections()
        if name not in {*known, *self.index.damaged()}:
            self.index.drop(name)  # completes a killed drop, or raises NoCollection
            return {}
        meta = known.get(name)
        if not force and self.index.active() == name:
            raise ModelActive(
                f"the model {model} is active; activate another one with `cxr use`, or drop it with --force: "
                "searches must then name a model"
            )
        counts = self._count(name, meta) if meta else {}
        if confirm and not confirm(counts):
            return None
        with self._lock:
            self._retrievers.pop(model, None)
        self.index.drop(name)
        return counts

    def _count(self, name: str, meta: CollectionMeta) -> dict[str, int]:
        try:
            return self.index.open(name).facet("dataset")
        except (IndexLocked, IndexUnreachable):
            raise
        except IndexFailure as error:  # a damaged collection may be dropped
            _log.warning("%s", error)
            return meta.counts

    def close(self) -> None:
        """Release the index."""
        self._retrievers.clear()
        self.index.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_retriever(
    model: str | None = None, index: str | Path | None = None, device: Device | None = None
) -> Retriever:
    """A retriever for one model; close it, or use it in a `with` statement.

    Args:
        model: Name of the model; the active one if None.
        index: Folder or URL of the index; `CXR_INDEX` or `<CXR_HOME>/index` if None.
        device: `auto`, `cpu` or `cuda`; `CXR_DEVICE` or `auto` if None.

    Raises:
        UnknownModel: no such bundle. NoCollection: nothing was ingested with it. IndexLocked: another process uses it.
    """
    given: dict[str, Any] = {"index": str(index) if index else None, "device": device}
    settings = RetrievalSettings(**{name: value for name, value in given.items() if value})
    catalog = Catalog(settings)
    try:
        found = catalog.retriever(model)
    except BaseException:
        catalog.close()
        raise
    return Retriever(found.encoder, found.collection, home=settings.home, on_close=catalog.close)


def _require(collections: dict[str, CollectionMeta], name: str, index: Index) -> CollectionMeta:
    if name not in collections:
        raise NoCollection(
            f"the model {model_of(name)} has no collection in {index.location}; run `cxr ingest` with it",
            public=f"the model {model_of(name)} has no collection; run `cxr ingest` with it",
        )
    return collections[name]


def _require_no_loss(meta: CollectionMeta, active: CollectionMeta | None) -> None:
    """Refuse a collection that has fewer cases than the active one.

    Raises:
        CountsDiffer: names what is missing, and what to do.
    """
    if not meta.complete:
        raise CountsDiffer(f"the collection of {meta.model} is not complete: {why_incomplete(meta)}; or {_FORCE_HINT}")
    if active is None:
        return
    if not active.counts:
        raise CountsDiffer(
            f"the active collection, of {active.model}, has no recorded image counts; `cxr ingest` with {active.model} "
            f"again, which only counts, or {_FORCE_HINT}"
        )
    missing = [
        f"{meta.counts.get(dataset, 0):,} of {count:,} images of {dataset}"
        for dataset, count in active.counts.items()
        if meta.counts.get(dataset, 0) < count
    ]
    if missing:
        raise CountsDiffer(
            f"the collection of {meta.model} lacks images of the active one, of {active.model}: it has "
            f"{', '.join(missing)}; `cxr ingest` the rest with {meta.model}, or {_FORCE_HINT}"
        )
