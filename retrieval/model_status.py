"""The status of a model: bundle, collection and activation."""

from __future__ import annotations

from typing import Any

import msgspec

from retrieval.index.schema import CollectionMeta, collection_name
from retrieval.model.bundle import ModelBundle


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
        """Whether it is installed and has a readable collection."""
        return self.installed and self.collection is not None and self.damaged is None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `cxr models --json` and the HTTP API."""
        return dict(msgspec.to_builtins(self))


def describe_model(
    name: str, *, bundle: ModelBundle | None, meta: CollectionMeta | None, active: bool, damaged: str | None = None
) -> ModelStatus:
    """The status of the model `name`, from its bundle and from the record of its collection, as far as there are any."""
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
