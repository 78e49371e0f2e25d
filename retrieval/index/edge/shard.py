"""The shard of an embedded collection: how it is laid out, made and opened."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from retrieval.disk_space import disk_full_error
from retrieval.errors import IndexFailure, SystemFailure
from retrieval.file_permissions import make_private_folder
from retrieval.index.edge.lock import in_use, not_writable
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
)

SHARD = "shard"
_BYTES = 2  # of a number in half precision


class Shard:
    """An open Edge shard whose failures, panics of the engine included, are errors of the project."""

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
                    f"{self._folder} cannot be used: {error}; `cxr doctor --model {model_of(self._folder.name)}` looks at it"
                ) from error

        return translated


def create_shard(folder: Path, meta: CollectionMeta) -> None:
    """Make an empty shard in the folder of a collection, with its payload indexes."""
    path = folder / SHARD
    make_private_folder(path)
    # The log would hold 50 MB, mostly of points that the segments have already. Instead every write ends in a flush.
    shard = edge.EdgeShard.create(str(path), _config(meta, graph=False, wal_enabled=False))
    for field in KEYWORD_FIELDS:
        shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
    shard.update(edge.UpdateOperation.create_field_index(DATE_FIELD, edge.PayloadSchemaType.Datetime))
    shard.flush()
    shard.close()


def load_shard(folder: Path, meta: CollectionMeta, *, graph: bool | None = None) -> Shard:
    """Open the shard of a collection; `graph` is whether optimising builds search graphs, None what it was.

    Raises:
        IndexLocked: a process with an earlier version has it open. CollectionDamaged: it cannot be opened.
        SystemFailure: its disk is full, or cannot be written to.
    """
    try:
        return Shard(edge.EdgeShard.load(str(folder / SHARD), _config(meta, graph=graph)), folder)
    except BaseException as error:
        if not _is_of_engine(error):
            raise
        if "WouldBlock" in str(error):  # by an earlier version, which relied on the lock of the write-ahead log
            raise in_use(folder) from error
        raise _failure(folder, error) or damaged_collection(folder.name, str(folder.parent), str(error)) from error


def _failure(folder: Path, error: BaseException) -> SystemFailure | None:
    """What the disk, and not the collection, is to blame for; the engine tells it in words alone."""
    for reason in ("Read-only file system", "Permission denied"):
        if reason in str(error):
            return not_writable(folder, reason)
    if "No space left on device" in str(error):
        return disk_full_error(folder, f"{folder.name} cannot be written")
    return None


def _is_of_engine(error: BaseException) -> bool:
    """Whether the engine raised it: a plain `Exception` for every failure, or a panic, which is none."""
    return type(error) is Exception or type(error).__module__ == "pyo3_runtime"


def needs_graph(meta: CollectionMeta, images: int) -> bool:
    """Whether so many images are too many to be compared one by one."""
    return images * meta.dim * _BYTES / 1024 > EXACT_UP_TO_KB


def _config(meta: CollectionMeta, *, graph: bool | None, wal_enabled: bool | None = None) -> edge.EdgeConfig:
    quantized = meta.layout.quantization == "int8"
    dense = edge.EdgeVectorParams(
        size=meta.dim, distance=edge.Distance.Cosine, datatype=edge.VectorStorageDatatype.Float16
    )
    # The engine quantises what it indexes, and only that; with 0 links a point makes an index without a graph.
    links = edge.HnswIndexConfig(m=16 if graph else 0, ef_construct=128, full_scan_threshold=EXACT_FILTERED_UP_TO_KB)
    int8 = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=edge.Memory.Cached)
    return edge.EdgeConfig(
        vectors=dict.fromkeys(DENSE_VECTORS, dense),
        sparse_vectors={SPARSE_VECTOR: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=None if graph is None else links,
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=INT8_FROM_KB if quantized else EXACT_UP_TO_KB),
        quantization_config=int8 if quantized else None,
        # Otherwise the first to read a payload waits for its pages, a millisecond for ten hits of 100,000.
        payload_memory=edge.Memory.Cached,
        # With one, a search runs in the thread that asks, and is not handed over. More would only search segments side by
        # side: the engine holds the GIL, so that searches take turns whatever their threads.
        max_search_threads=1,
        wal_enabled=wal_enabled,
    )
