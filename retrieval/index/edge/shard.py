"""The shard of an embedded collection: its configuration, creation and opening."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from retrieval.disk_space import disk_full_error
from retrieval.errors import IndexFailure, SystemFailure
from retrieval.file_permissions import make_private_folder
from retrieval.index.edge.lock import locked_error, not_writable_error
from retrieval.index.schema import (
    DATE_FIELD,
    DENSE_VECTORS,
    EXACT_FILTERED_UP_TO_KB,
    EXACT_UP_TO_KB,
    INT8_FROM_KB,
    KEYWORD_FIELDS,
    SPARSE_VECTOR,
    CollectionMeta,
    damaged_collection,
    model_of,
    vector_kb,
)

SHARD = "shard"


class Shard:
    """An open Edge shard; failures of the engine, panics included, are raised as `RetrievalError`."""

    def __init__(self, shard: edge.EdgeShard, folder: Path) -> None:
        self._shard = shard
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._shard, name)

        @functools.wraps(call)
        def translated(*values: Any, **named: Any) -> Any:
            try:
                return call(*values, **named)
            except BaseException as error:
                if not _is_of_engine(error):
                    raise
                raise _failure(self._folder, error) or IndexFailure(
                    f"{self._folder} cannot be used: {error}; `cxr doctor --model {model_of(self._folder.name)}` examines it"
                ) from error

        return translated


def create_shard(folder: Path, meta: CollectionMeta) -> None:
    """Make an empty shard in the folder of a collection, with its payload indexes."""
    path = folder / SHARD
    make_private_folder(path)
    # A write-ahead log would take 50 MB, mostly of points that the segments have already. Every write is flushed instead.
    shard = edge.EdgeShard.create(str(path), _config(meta, graph=False, wal_enabled=False))
    for field in KEYWORD_FIELDS:
        shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
    shard.update(edge.UpdateOperation.create_field_index(DATE_FIELD, edge.PayloadSchemaType.Datetime))
    shard.flush()
    shard.close()


def load_shard(folder: Path, meta: CollectionMeta, *, graph: bool | None = None) -> Shard:
    """Open the shard of a collection; `graph` decides whether optimizing builds search graphs, None keeps the setting.

    Raises:
        IndexLocked: a process of an earlier version has it open. CollectionDamaged: it cannot be opened.
        SystemFailure: its disk is full or not writable.
    """
    try:
        return Shard(edge.EdgeShard.load(str(folder / SHARD), _config(meta, graph=graph)), folder)
    except BaseException as error:
        if not _is_of_engine(error):
            raise
        if "WouldBlock" in str(error):  # an earlier version locked the write-ahead log
            raise locked_error(folder) from error
        raise _failure(folder, error) or damaged_collection(folder.name, str(folder.parent), str(error)) from error


def _failure(folder: Path, error: BaseException) -> SystemFailure | None:
    """The error if the disk is the cause, not the collection; the engine reports this in its message only."""
    for reason in ("Read-only file system", "Permission denied"):
        if reason in str(error):
            return not_writable_error(folder, reason)
    if "No space left on device" in str(error):
        return disk_full_error(folder, f"{folder.name} cannot be written")
    return None


def _is_of_engine(error: BaseException) -> bool:
    """Whether the engine raised it: a plain `Exception` for a failure, or a panic, which is not an `Exception`."""
    return type(error) is Exception or type(error).__module__ == "pyo3_runtime"


def needs_graph(meta: CollectionMeta, images: int) -> bool:
    """Whether a collection of `images` images needs a search graph, since comparing with each would be slow."""
    return vector_kb(meta.dim, images) > EXACT_UP_TO_KB


def _config(meta: CollectionMeta, *, graph: bool | None, wal_enabled: bool | None = None) -> edge.EdgeConfig:
    quantized = meta.layout.quantization == "int8"
    dense = edge.EdgeVectorParams(
        size=meta.dim, distance=edge.Distance.Cosine, datatype=edge.VectorStorageDatatype.Float16
    )
    # The engine quantises only what it indexes; m=0 makes an index without a graph.
    links = edge.HnswIndexConfig(m=16 if graph else 0, ef_construct=128, full_scan_threshold=EXACT_FILTERED_UP_TO_KB)
    int8 = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=edge.Memory.Cached)
    return edge.EdgeConfig(
        vectors=dict.fromkeys(DENSE_VECTORS, dense),
        sparse_vectors={SPARSE_VECTOR: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=None if graph is None else links,
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INT8_FROM_KB if quantized else EXACT_UP_TO_KB),
        quantization_config=int8 if quantized else None,
        # Otherwise the first reader of a payload waits for its pages: 1 ms for ten hits of 100,000 images.
        payload_memory=edge.Memory.Cached,
        # With 1, a search runs in the calling thread. More would only search segments in parallel: the engine holds the
        # GIL, so that searches run one after the other anyway.
        max_search_threads=1,
        wal_enabled=wal_enabled,
    )
