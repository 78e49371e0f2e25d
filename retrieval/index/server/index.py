"""The server engine: a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

import functools
import logging
import ssl
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import stamina.instrumentation
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from retrieval.errors import (
    CollectionExists,
    IndexFailure,
    IndexUnreachable,
    InvalidRequest,
    NoCollection,
    SystemFailure,
)
from retrieval.index.interface import Collection
from retrieval.index.schema import (
    ALIAS,
    DATE_FIELD,
    DENSE_VECTORS,
    EXACT_FILTERED_UP_TO_KB,
    EXACT_UP_TO_KB,
    KEYWORD_FIELDS,
    PREVIOUS,
    SPARSE_VECTOR,
    CollectionLayout,
    CollectionMeta,
    moved_alias,
)
from retrieval.index.server.collection import ServerCollection
from retrieval.index_address import redact

# Of a query somebody waits for: once more and soon, in case a kept connection had gone stale.
_IMPATIENT = 2
_IMPATIENT_WAIT_S = 1.0
_WAIT_MAX_S = 10.0
# Who mistyped an address should not wait for as long as a long job would.
_PATIENCE_TO_CONNECT_S = 20.0
_LOG = logging.getLogger(__name__)
_BUSY = (429, 500, 502, 503, 504)
_INT8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True))


class ServerIndex:
    """The collections of a server. Wraps any `QdrantClient`, which the tests use to run it on the local mode."""

    def __init__(self, client: QdrantClient, location: str, *, patience_s: float = 0.0) -> None:
        """Use `client`; what fails in passing is tried again for `patience_s` seconds, or once for 0."""
        self.location = location
        self._client = cast(QdrantClient, _Translated(client, location, patience_s))

    @classmethod
    def connect(
        cls, url: str, *, api_key: str | None, timeout_s: int, ca_file: Path | None = None, patience_s: float = 0.0
    ) -> ServerIndex:
        """Connect to the server at `url`; `ca_file` holds the authority of its certificate, in PEM.

        Raises:
            IndexUnreachable: it does not answer, or refuses the key.
            InvalidRequest: `url` is no address. SystemFailure: `ca_file` cannot be read.
        """
        location = redact(url)
        try:
            # Redacted: the client would drop user and password, and show them in its errors.
            client = QdrantClient(
                url=location, api_key=api_key, timeout=timeout_s, check_compatibility=False, **_verification(ca_file)
            )
        except ValueError as error:
            raise InvalidRequest(f"the index {location} is no address of a server: {error}") from error
        try:
            _Translated(client, location, min(patience_s, _PATIENCE_TO_CONNECT_S)).get_collections()
        except IndexFailure as error:
            client.close()
            raise IndexUnreachable(f"{error}; is it running, and is CXR_INDEX_API_KEY right?") from error
        return cls(client, location, patience_s=patience_s)

    def collections(self) -> dict[str, CollectionMeta]:
        """See `Index.collections`. Collections without our record are not ours and are left out."""
        found = {}
        for description in self._client.get_collections().collections:
            meta = self._meta_of(description.name)
            if meta is not None:
                found[description.name] = meta
        return dict(sorted(found.items()))

    def damaged(self) -> dict[str, str]:
        """See `Index.damaged`. A server reports its own."""
        return {}

    def require_layout(self, layout: CollectionLayout) -> None:
        """See `Index.require_layout`. How many copies a cluster has room for only the cluster knows."""

    def create(self, meta: CollectionMeta, *, name: str, layout: CollectionLayout = CollectionLayout()) -> Collection:
        """See `Index.create`. A collection that a killed `create` left without some of its payload indexes is finished."""
        meta = msgspec.structs.replace(meta, layout=layout)
        unfinished = _unfinished(meta)
        found = self._metadata_of(name) if self._client.collection_exists(name) else None
        if found and found.keys() == unfinished.keys() and found != unfinished:  # left by another bundle or layout
            self._client.delete_collection(name)
            found = None
        if found is None:
            self._create_without_indexes(meta, name)
        elif found != unfinished:
            raise CollectionExists(f"the collection {name} exists already at {self.location}")
        for field in KEYWORD_FIELDS:
            self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)
        self._client.create_payload_index(name, DATE_FIELD, models.PayloadSchemaType.DATETIME)
        self._client.update_collection(name, metadata=msgspec.to_builtins(meta))
        return self.open(name)

    def _create_without_indexes(self, meta: CollectionMeta, name: str) -> None:
        dense = models.VectorParams(
            size=meta.dim, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16, on_disk=True
        )
        try:
            self._client.create_collection(
                name,
                vectors_config=dict.fromkeys(DENSE_VECTORS, dense),
                sparse_vectors_config={SPARSE_VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                hnsw_config=models.HnswConfigDiff(m=16, ef_construct=128, full_scan_threshold=EXACT_FILTERED_UP_TO_KB),
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=EXACT_UP_TO_KB),
                on_disk_payload=True,
                quantization_config=_INT8 if meta.layout.quantization == "int8" else None,
                shard_number=meta.layout.shards,
                replication_factor=meta.layout.replicas,
                metadata=_unfinished(meta),
            )
        except IndexFailure:
            # It was made all the same if the answer was lost, and the request repeated to a server that has it now.
            if not self._client.collection_exists(name) or self._metadata_of(name) != _unfinished(meta):
                raise

    def open(self, name: str) -> Collection:
        """See `Index.open`.

        Raises:
            NoCollection: there is none of this name, or it is not one of this project's.
        """
        # Read anew each time: others may rebuild the collection.
        meta = self._meta_of(name) if self._client.collection_exists(name) else None
        if meta is None:
            raise NoCollection(f"no collection {name} at {self.location}; `cxr ingest` makes one")
        return ServerCollection(name, self._client, meta)

    def drop(self, name: str) -> None:
        """See `Index.drop`."""
        self.open(name)
        self._client.delete_collection(name)

    def active(self) -> str | None:
        """See `Index.active`."""
        return self._aliases().get(ALIAS)

    def activate(self, name: str) -> None:
        """See `Index.activate`.

        Raises:
            NoCollection: there is none of this name.
        """
        self.open(name)
        stands = self._aliases()
        moved = {alias: target for alias, target in moved_alias(stands, name).items() if stands.get(alias) != target}
        operations: list[Any] = []
        for alias, target in moved.items():
            if alias in stands:
                operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
            create = models.CreateAlias(collection_name=target, alias_name=alias)
            operations.append(models.CreateAliasOperation(create_alias=create))
        if operations:
            self._client.update_collection_aliases(operations)

    def previous(self) -> str | None:
        """See `Index.previous`."""
        return self._aliases().get(PREVIOUS)

    def _aliases(self) -> dict[str, str]:
        found = self._client.get_aliases().aliases
        return {alias.alias_name: alias.collection_name for alias in found if alias.alias_name in (ALIAS, PREVIOUS)}

    def disk_bytes(self, name: str) -> int | None:
        """See `Index`; a server does not tell."""
        return None

    def close(self) -> None:
        """See `Index.close`."""
        self._client.close()

    def _metadata_of(self, name: str) -> dict[str, Any]:
        return self._client.get_collection(name).config.metadata or {}

    def _meta_of(self, name: str) -> CollectionMeta | None:
        try:
            return msgspec.convert(self._metadata_of(name), CollectionMeta)
        except msgspec.ValidationError:
            return None


class _Translated:
    """A client whose passing failures are tried again, and whose other failures are errors of the project.

    Every call that the index makes may be repeated: writes name their points, and aliases are set, not counted.
    """

    def __init__(self, client: QdrantClient, location: str, patience_s: float) -> None:
        self._client = client
        self._location = location
        self._patience_s = patience_s

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        @functools.wraps(call)
        def translated(*values: Any, **named: Any) -> Any:
            try:
                for attempt in stamina.retry_context(
                    on=self._wait_before_retry,
                    attempts=None if self._patience_s else _IMPATIENT,
                    timeout=self._patience_s or None,
                    wait_max=_WAIT_MAX_S,
                ):
                    with attempt:
                        return call(*values, **named)
            except ResponseHandlingException as error:
                if _distrusts(error.source):
                    raise IndexUnreachable(
                        f"no secure connection to the Qdrant server at {self._location}: {error}; CXR_INDEX_CA_FILE "
                        "names the authority that signed its certificate"
                    ) from error
                raise IndexUnreachable(f"the Qdrant server at {self._location} does not answer: {error}") from error
            except UnexpectedResponse as error:
                if error.status_code in _BUSY:
                    raise IndexUnreachable(f"the Qdrant server at {self._location} is busy: {error}") from error
                raise IndexFailure(f"the Qdrant server at {self._location} refuses {name}: {error}") from error
            except QdrantException as error:  # 429 with a time after which to come again
                raise IndexUnreachable(f"the Qdrant server at {self._location} is busy: {error}") from error

        return translated

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """Whether a failure may pass, or after how many seconds the server wants to be asked again."""
        match error:
            case ResourceExhaustedResponse():
                wait_s = min(float(error.retry_after_s), _WAIT_MAX_S)
                return wait_s if self._patience_s or wait_s <= _IMPATIENT_WAIT_S else False
            case UnexpectedResponse():
                return error.status_code in _BUSY
            case ResponseHandlingException(source=httpx.TimeoutException()):
                return self._patience_s > 0  # who searches has waited long enough
            case ResponseHandlingException():
                return isinstance(error.source, httpx.TransportError) and not _distrusts(error.source)
            case _:
                return False


def _unfinished(meta: CollectionMeta) -> dict[str, Any]:
    """What a collection records of itself until it has its payload indexes; nobody opens it before that."""
    return {"model": meta.model, "bundle_id": meta.bundle_id, "layout": msgspec.to_builtins(meta.layout)}


def _tell_of_retry(details: stamina.instrumentation.RetryDetails) -> None:
    reason = str(details.caused_by).partition("\n")[0]
    _LOG.warning("the Qdrant server is busy or away (%s); again in %.1f s", reason, details.wait_for)


# Where structlog is installed, stamina's own hook prints to stdout, which belongs to results.
stamina.instrumentation.set_on_retry_hooks([_tell_of_retry])


def _distrusts(error: BaseException | None) -> bool:
    """Whether TLS is behind a failed connection: a certificate that is not trusted, or a server that speaks plain HTTP."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _verification(ca_file: Path | None) -> dict[str, Any]:
    if ca_file is None:
        return {}
    try:
        return {"verify": ssl.create_default_context(cafile=str(ca_file))}
    except (OSError, ssl.SSLError) as error:
        raise SystemFailure(f"{ca_file} is not a readable PEM file of certificates: {error}") from error
