"""The shard of an embedded collection: how it is laid out, made and opened."""

from __future__ import annotations

from pathlib import Path

import qdrant_edge as edge

from retrieval.errors import IndexFailure
from retrieval.index.edge_lock import in_use
from retrieval.index.schema import (
    DATE_FIELD,
    DENSE_VECTORS,
    EXACT_FILTERED_UP_TO_KB,
    EXACT_UP_TO_KB,
    INT8_FROM_KB,
    KEYWORD_FIELDS,
    SPARSE_VECTOR,
    CollectionMeta,
)
from retrieval.private import make_private_folder

_SHARD = "shard"
_BYTES = 2  # of a number in half precision


def create_shard(folder: Path, meta: CollectionMeta) -> edge.EdgeShard:
    """An empty shard in the folder of a collection, with its payload indexes."""
    path = folder / _SHARD
    make_private_folder(path)
    # The log would hold 50 MB, mostly of points that the segments have already. Instead every write ends in a flush.
    shard = edge.EdgeShard.create(str(path), _config(meta, graph=False, wal_enabled=False))
    for field in KEYWORD_FIELDS:
        shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
    shard.update(edge.UpdateOperation.create_field_index(DATE_FIELD, edge.PayloadSchemaType.Datetime))
    shard.flush()
    return shard


def load_shard(folder: Path, meta: CollectionMeta, *, graph: bool | None = None) -> edge.EdgeShard:
    """Open the shard of a collection; `graph` is whether optimising builds search graphs, None what it was.

    Raises:
        IndexLocked: a process with an earlier version has it open. IndexFailure: it is damaged.
    """
    try:
        return edge.EdgeShard.load(str(folder / _SHARD), _config(meta, graph=graph))
    except Exception as error:  # Edge raises its own exception type for everything
        if "WouldBlock" in str(error):  # by an earlier version, which relied on the lock of the write-ahead log
            raise in_use(folder) from error
        raise IndexFailure(f"{folder} cannot be opened: {error}") from error


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
