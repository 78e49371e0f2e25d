"""All models of one home at once: which are installed, which have a collection, which is active."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec

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
from retrieval.index import open_index
from retrieval.index.completeness import why_incomplete
from retrieval.index.interface import Index, readable_active
from retrieval.index.schema import CollectionMeta, collection_name, damaged_collection, model_of, require_same_bundle
from retrieval.model.bundle import ModelBundle, find_bundle, installed_bundles
from retrieval.model.encoder import Encoder
from retrieval.search.retriever import Retriever
from retrieval.settings import RetrievalSettings

_ALL_THE_SAME = 'use --force (over HTTP "force": true) to switch all the same'
_log = logging.getLogger(__name__)


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that is installed, or has a collection, or both; fields of a missing bundle or collection are None.

    `images` counts the images in the collection after the last complete ingest; `complete` says whether every ingest into
    it was completed. `damaged` says what is wrong with a collection that cannot be read.
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
    damaged: str | None = None

    @property
    def is_searchable(self) -> bool:
        """Whether it has what a search needs."""
        return self.installed and self.collection is not None and self.damaged is None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `cxr models --json` and the HTTP API."""
        return dict(msgspec.to_builtins(self))


class Catalog:
    """Opens each model once and keeps it; knows the active one. Safe from several threads."""

    def __init__(
        self, settings: RetrievalSettings | None = None, *, make_encoder: Callable[..., Encoder] = Encoder
    ) -> None:
        """Open the index of `settings`; `make_encoder` is called as `Encoder` is, for each model that is opened."""
        self.settings = settings or RetrievalSettings()
        self._make_encoder = make_encoder
        for path in restrict_home(self.settings.home, self.settings.index_folder):
            _log.warning("other users of this machine could read %s; it is now restricted to its owner", path)
        self.index: Index = open_index(self.settings)
        self._retrievers: dict[str, Retriever] = {}
        self._lock = threading.Lock()

    def models(self) -> list[ModelStatus]:
        """Every model that is installed or has a collection, by name. Opens no collection and checks no checksum."""
        collections = {model_of(name): meta for name, meta in self.index.collections().items()}
        damaged = {model_of(name): damage for name, damage in self.index.damaged().items()}
        bundles = installed_bundles(self.settings.models_dir)
        active = readable_active(self.index)
        return [
            _status(
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
        except BundleError as error:  # one that cannot be used must not hide the others
            _log.warning("%s", error)
            return None

    def retriever(self, model: str | None = None) -> Retriever:
        """The retriever of `model`, or of the active model, which is looked up anew at each call.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it, or no model is active.
            BundleMismatch: the collection was built by another bundle. IndexLocked: in use by another process.
        """
        name = model or self.active_model()
        if name is None:
            raise NoCollection(
                f"no model is active in {self.index.location}; run `cxr demo`, or `cxr ingest` and `cxr use MODEL`"
            )
        # Another process may have rebuilt or grown the collection of a server meanwhile. Asked outside the lock, since a
        # server takes its time.
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
        """The model whose collection the alias names."""
        collection = self.index.active()
        return model_of(collection) if collection else None

    def activate(self, model: str, *, force: bool = False) -> ModelStatus:
        """Make `model` the active one, in one step; requests that name no model see it from then on.

        So that no case is lost by switching, its collection must be complete and hold at least as many images of each
        dataset as the one that is active now; more, or further datasets, are fine. `force` switches all the same. Needs
        no lock: both collections say what the last complete ingest counted.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it.
            BundleMismatch: its collection was built by another bundle. CollectionDamaged: it cannot be read.
            CountsDiffer: the collection is not complete, or lacks images, and `force` is not set.
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
        return _status(model, bundle=bundle, meta=meta, active=True)

    def activate_previous(self) -> ModelStatus:
        """Make the model active that was so before the present one. Whoever goes back is not asked for counts.

        Raises:
            NoCollection: none was active before, or its collection is gone.
            UnknownModel: its bundle is gone. BundleMismatch: its collection was built by another bundle.
        """
        name = self.index.previous()
        if name is None:
            raise NoCollection(f"no other model was active before in {self.index.location}, or its collection is gone")
        return self.activate(model_of(name), force=True)

    def drop(
        self, model: str, *, force: bool = False, confirm: Callable[[dict[str, int]], bool] | None = None
    ) -> dict[str, int] | None:
        """Remove the collection of `model`, and give the images by dataset that it held. Bundle and thumbnails stay.

        Args:
            model: The model; its bundle need not be installed.
            force: Remove it also if it is the active one; then none is active.
            confirm: Asked with the images by dataset; nothing is removed, and None given, unless it says yes.

        Raises:
            NoCollection: the model has none. ModelActive: it is the active one and `force` is not set.
            AliasDamaged: it may be the active one, and `force` is not set.
            IndexLocked: another process has the collection open.
        """
        name = collection_name(model)
        known = self.index.collections()
        if name not in {*known, *self.index.damaged()}:
            self.index.drop(name)  # completes a killed drop, or says that there is no collection
            return {}
        meta = known.get(name)
        if not force and self.index.active() == name:
            raise ModelActive(
                f"the model {model} is the active one; `cxr use` another first, or drop it with --force, "
                "after which no search without a model is answered"
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
        except IndexFailure as error:  # a damaged collection, which is a reason to drop it
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


def _require(collections: dict[str, CollectionMeta], name: str, index: Index) -> CollectionMeta:
    if name not in collections:
        raise NoCollection(
            f"the model {model_of(name)} has no collection in {index.location}; run `cxr ingest` with it"
        )
    return collections[name]


def _require_no_loss(meta: CollectionMeta, active: CollectionMeta | None) -> None:
    """Refuse a collection that would answer for fewer cases than the active one does.

    Raises:
        CountsDiffer: saying what is missing, and what to do.
    """
    if not meta.complete:
        raise CountsDiffer(
            f"the collection of {meta.model} is not complete: {why_incomplete(meta)}; or {_ALL_THE_SAME}"
        )
    if active is None:
        return
    if not active.counts:
        raise CountsDiffer(
            f"how many images the active collection, of {active.model}, holds is not recorded; `cxr ingest` with "
            f"{active.model} again, which skips what is done and counts, or {_ALL_THE_SAME}"
        )
    missing = [
        f"{meta.counts.get(dataset, 0):,} of {count:,} images of {dataset}"
        for dataset, count in active.counts.items()
        if meta.counts.get(dataset, 0) < count
    ]
    if missing:
        raise CountsDiffer(
            f"the collection of {meta.model} holds {', '.join(missing)} that the active one, of {active.model}, holds; "
            f"`cxr ingest` the rest with {meta.model}, or {_ALL_THE_SAME}"
        )


def _status(
    name: str, *, bundle: ModelBundle | None, meta: CollectionMeta | None, active: bool, damaged: str | None = None
) -> ModelStatus:
    manifest = bundle.manifest if bundle else None
    return ModelStatus(
        key=name,
        installed=bundle is not None,
        active=active,
        collection=collection_name(name) if meta or damaged else None,
        bundle_id=bundle.bundle_id if bundle else meta.bundle_id if meta else None,
        family=manifest.family if manifest else None,
        dim=manifest.dim if manifest else None,
        image_size=manifest.preprocessing.size if manifest else None,
        precision=manifest.precision if manifest else None,
        licence=manifest.licence if manifest else None,
        size_bytes=bundle.size_bytes if bundle else None,
        images=sum(meta.counts.values()) if meta and meta.counts else None,
        complete=meta.complete if meta else None,
        damaged=damaged,
    )
