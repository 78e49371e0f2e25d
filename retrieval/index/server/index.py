"""The server engine: a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
from qdrant_client import models

from retrieval.errors import CollectionExists, IndexFailure, NoCollection
from retrieval.index.interface import Collection
from retrieval.index.schema import (
    ALIAS,
    DENSE_VECTORS,
    EXACT_FILTERED_UP_TO_KB,
    LINKED_FIELDS,
    PAYLOAD_INDEXES,
    PREVIOUS,
    SPARSE_VECTOR,
    CollectionLayout,
    CollectionMeta,
    moved_alias,
)
from retrieval.index.server.cache import AnswerCache
from retrieval.index.server.client import SEARCH_TIMEOUT_S, RetryingClient, connect
from retrieval.index.server.collection import ServerCollection
from retrieval.index.server.confirmed import wait_until_shown
from retrieval.index.server.http import ServerClient
from retrieval.index.server.optimizer import search_settings
from retrieval.index.server.token import hidden_alias, names_of_token
from retrieval.index_address import collection_path, redact


class ServerIndex:
    """The collections of a server, through a client of it.

    A search asks for the active collection and for what its collection records. The answers are used for a second, see
    `AnswerCache`; changes made through this object are seen at once.
    """

    def __init__(
        self,
        client: ServerClient,
        location: str,
        *,
        patience_s: float = 0.0,
        search_timeout_s: float = SEARCH_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `client`. Temporary failures are retried for `patience_s` seconds, or once for 0; see `RetryingClient`."""
        self.location = location
        self._client = cast(
            ServerClient, RetryingClient(client, location, patience_s, search_timeout_s=search_timeout_s)
        )
        self._answers = AnswerCache(clock)
        self._token_names: frozenset[str] | None = None

    @classmethod
    def connect(
        cls,
        location: str,
        *,
        api_key: str | None,
        timeout_s: int,
        ca_file: Path | None = None,
        patience_s: float = 0.0,
        search_timeout_s: float = SEARCH_TIMEOUT_S,
    ) -> ServerIndex:
        """Connect to the server at `location`, or to the nodes of one cluster, with commas between their addresses.

        `ca_file` holds the authority of their certificates, in PEM. For the times see `RetryingClient`.

        Raises:
            IndexUnreachable: no node answers. IndexForbidden: the server refuses the key.
            InvalidRequest: `location` is not an address. SystemFailure: `ca_file` cannot be read.
        """
        client = connect(
            location,
            api_key=api_key,
            timeout_s=timeout_s,
            ca_file=ca_file,
            patience_s=patience_s,
            search_timeout_s=search_timeout_s,
        )
        index = cls(client, redact(location), patience_s=patience_s, search_timeout_s=search_timeout_s)
        index._token_names = names_of_token(api_key)
        return index

    def collections(self) -> dict[str, CollectionMeta]:
        """See `Index.collections`. Collections without a record of this project are left out."""
        found = {}
        for description in self._client.get_collections().collections:
            meta = self._meta_of(description.name)
            if meta is not None:
                found[description.name] = meta
        return dict(sorted(found.items()))

    def damaged(self) -> dict[str, str]:
        """See `Index.damaged`. Always empty: a server reports its damaged collections itself."""
        return {}

    def require_layout(self, layout: CollectionLayout) -> None:
        """See `Index.require_layout`. Accepts all: only the cluster knows how many replicas it has room for."""

    def create(self, meta: CollectionMeta, *, name: str, layout: CollectionLayout = CollectionLayout()) -> Collection:
        """See `Index.create`. Completes a collection that a killed `create` left without some of its payload indexes."""
        meta = msgspec.structs.replace(meta, layout=layout)
        unfinished = _unfinished(meta)
        found = self._metadata_of(name) if self._client.collection_exists(name) else None
        if found and found.keys() == _UNFINISHED and found != unfinished:  # left by another bundle or layout
            self._client.delete_collection(name)
            found = None
        if found is None:
            self._create_without_indexes(meta, name)
        elif found != unfinished:
            raise CollectionExists(
                f"the collection {name} already exists at {self.location}{_foreign(found)}",
                public=f"the collection {name} already exists",
            )
        self._index_payload(name)
        self._client.update_collection(name, metadata=msgspec.to_builtins(meta))
        wait_until_shown(lambda: self._meta_of(name) is not None)
        self._answers.clear()
        return self._collection(name, meta)

    def _create_without_indexes(self, meta: CollectionMeta, name: str) -> None:
        try:
            self._client.call("PUT", collection_path(name), _creation(meta), bool)
        except IndexFailure:
            # If the first answer was lost, the repeated request fails although the collection was made.
            if not self._client.collection_exists(name) or self._metadata_of(name) != _unfinished(meta):
                raise

    def _index_payload(self, name: str) -> None:
        for field, kind in PAYLOAD_INDEXES.items():
            schema: dict[str, Any] = {"type": kind}
            if kind == "keyword":
                schema["enable_hnsw"] = field in LINKED_FIELDS
            self._client.write("PUT", f"{collection_path(name)}/index", {"field_name": field, "field_schema": schema})

    def open(self, name: str) -> Collection:
        """See `Index.open`.

        Raises:
            NoCollection: there is none of this name, or another program made it.
        """
        # Other processes may rebuild the collection.
        meta = self._answers.get(("collection", name), lambda: self._require(name))
        return self._collection(name, meta)

    def _collection(self, name: str, meta: CollectionMeta) -> ServerCollection:
        return ServerCollection(name, self._client, meta, on_record=self._answers.clear)

    def drop(self, name: str) -> None:
        """See `Index.drop`."""
        self._require(name)
        self._client.delete_collection(name)
        wait_until_shown(lambda: not self._client.collection_exists(name))
        self._answers.clear()

    def active(self) -> str | None:
        """See `Index.active`.

        Raises:
            IndexForbidden: the token names collections, and does not see which one is active.
        """
        found = self._answers.get("aliases", self._read_aliases).get(ALIAS)
        if found is None and self._token_names is not None:
            raise hidden_alias(self._token_names)
        return found

    def activate(self, name: str) -> None:
        """See `Index.activate`.

        Raises:
            NoCollection: there is none of this name.
        """
        self._require(name)
        aliases = self._read_aliases()
        changed = {
            alias: target for alias, target in moved_alias(aliases, name).items() if aliases.get(alias) != target
        }
        operations: list[Any] = []
        for alias, target in changed.items():
            if alias in aliases:
                operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
            create = models.CreateAlias(collection_name=target, alias_name=alias)
            operations.append(models.CreateAliasOperation(create_alias=create))
        if operations:
            self._client.update_collection_aliases(operations)
            wait_until_shown(lambda: self._read_aliases() == aliases | changed)
        self._answers.clear()

    def previous(self) -> str | None:
        """See `Index.previous`."""
        return self._read_aliases().get(PREVIOUS)

    def _read_aliases(self) -> dict[str, str]:
        found = self._client.get_aliases().aliases
        return {alias.alias_name: alias.collection_name for alias in found if alias.alias_name in (ALIAS, PREVIOUS)}

    def disk_bytes(self, name: str) -> int | None:
        """See `Index`; a server does not tell."""
        return None

    def close(self) -> None:
        """See `Index.close`."""
        self._client.close()

    def _require(self, name: str) -> CollectionMeta:
        exists = self._client.collection_exists(name)
        meta = self._meta_of(name) if exists else None
        if exists and meta is None:
            raise NoCollection(
                f"the collection {name} at {self.location} is not readable{_foreign(self._metadata_of(name))}",
                public=f"no collection {name}",
            )
        if meta is None:
            raise NoCollection(
                f"no collection {name} at {self.location}; `cxr ingest` makes one", public=f"no collection {name}"
            )
        return meta

    def _metadata_of(self, name: str) -> dict[str, Any]:
        return self._client.get_collection(name).config.metadata or {}

    def _meta_of(self, name: str) -> CollectionMeta | None:
        try:
            return msgspec.convert(self._metadata_of(name), CollectionMeta)
        except msgspec.ValidationError:
            return None


def _creation(meta: CollectionMeta) -> dict[str, Any]:
    """The request that makes an empty collection. `memory` is that of 1.19; 1.18 knows the options beside it only."""
    settings = search_settings(meta, 0).to_request()
    has_int8 = meta.layout.quantization == "int8"
    dense = {
        "size": meta.dim,
        "distance": "Cosine",
        "datatype": "float16",
        "on_disk": True,
        "memory": "cold" if has_int8 else "cached",  # int8 copies are searched first
    }
    request = {
        "vectors": dict.fromkeys(DENSE_VECTORS, dense),
        "sparse_vectors": {SPARSE_VECTOR: {"modifier": "idf"}},
        "hnsw_config": {"ef_construct": 128, "full_scan_threshold": EXACT_FILTERED_UP_TO_KB} | settings["hnsw_config"],
        "optimizers_config": settings["optimizers_config"],
        "on_disk_payload": True,
        "payload": {"memory": "cached"},
        "shard_number": meta.layout.shards,
        "replication_factor": meta.layout.replicas,
        "metadata": _unfinished(meta),
    }
    if has_int8:
        request["quantization_config"] = {"scalar": {"type": "int8", "always_ram": True, "memory": "pinned"}}
    return request


_UNFINISHED = {"model", "bundle_id", "layout"}


def _unfinished(meta: CollectionMeta) -> dict[str, Any]:
    """The record of a collection that lacks payload indexes; such a collection is never opened."""
    return {"model": meta.model, "bundle_id": meta.bundle_id, "layout": msgspec.to_builtins(meta.layout)}


def _foreign(record: dict[str, Any]) -> str:
    """The end of a message about a collection with `record`, if it cannot be used."""
    if record.keys() == _UNFINISHED:
        return ": its making was interrupted; run the same command again"
    if "bundle_id" not in record:
        return ": another program made it; rename or delete it on the server"
    return ""
