"""All models of one home at once: which are installed, which have a collection, which is active."""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.bundle import ModelBundle, find_bundle, installed_bundles
from retrieval.encoder import Encoder
from retrieval.errors import BundleError, NoCollection
from retrieval.index import open_index
from retrieval.index.interface import Index
from retrieval.index.schema import CollectionMeta, collection_name, model_of, require_same_bundle
from retrieval.search import Retriever
from retrieval.settings import RetrievalSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model that is installed, or has a collection, or both. Fields that a missing bundle would tell are None."""

    key: str
    installed: bool
    active: bool
    collection: str | None
    bundle_id: str | None
    family: str | None = None
    dim: int | None = None
    image_size: int | None = None
    precision: str | None = None
    licence: str | None = None
    size_bytes: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document that `cxr models --json` and the HTTP API give."""
        return asdict(self)


class Catalog:
    """Opens each model once and keeps it; knows the active one. Safe from several threads."""

    def __init__(self, settings: RetrievalSettings | None = None) -> None:
        self.settings = settings or RetrievalSettings()
        self.index: Index = open_index(self.settings)
        self._retrievers: dict[str, Retriever] = {}
        self._lock = threading.Lock()

    def models(self) -> list[ModelStatus]:
        """Every model that is installed or has a collection, by name. Opens no collection and checks no checksum."""
        collections = {model_of(name): meta for name, meta in self.index.collections().items()}
        bundles = installed_bundles(self.settings.models_dir)
        active = self.active_model()
        return [
            _status(
                name,
                bundle=self._bundle(name) if name in bundles else None,
                meta=collections.get(name),
                active=name == active,
            )
            for name in sorted({*bundles, *collections})
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
                encoder = Encoder(bundle, device=self.settings.device, threads=self.settings.threads)
                self._retrievers[name] = Retriever(encoder, collection or self.index.open(collection_name(name)))
            elif collection and collection.meta != known.collection.meta:
                self._retrievers[name] = Retriever(known.encoder, collection)
            return self._retrievers[name]

    def active_model(self) -> str | None:
        """The model whose collection the alias names."""
        collection = self.index.active()
        return model_of(collection) if collection else None

    def activate(self, model: str) -> ModelStatus:
        """Make `model` the active one, in one step; requests that name no model see it from then on.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it.
            BundleMismatch: its collection was built by another bundle.
        """
        bundle = find_bundle(model, self.settings.models_dir)
        name = collection_name(model)
        meta = self.index.collections().get(name)
        if meta is None:
            raise NoCollection(
                f"the model {model} has no collection in {self.index.location}; run `cxr ingest` with it"
            )
        require_same_bundle(bundle, meta, name)
        self.index.activate(name)
        return _status(model, bundle=bundle, meta=meta, active=True)

    def close(self) -> None:
        """Release the index."""
        self._retrievers.clear()
        self.index.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _status(name: str, *, bundle: ModelBundle | None, meta: CollectionMeta | None, active: bool) -> ModelStatus:
    collection = collection_name(name) if meta else None
    if bundle is None:
        bundle_id = meta.bundle_id if meta else None
        return ModelStatus(key=name, installed=False, active=active, collection=collection, bundle_id=bundle_id)
    manifest = bundle.manifest
    return ModelStatus(
        key=name,
        installed=True,
        active=active,
        collection=collection,
        bundle_id=bundle.bundle_id,
        family=manifest.family,
        dim=manifest.dim,
        image_size=manifest.preprocessing.size,
        precision=manifest.precision,
        licence=manifest.licence,
        size_bytes=bundle.size_bytes,
    )
