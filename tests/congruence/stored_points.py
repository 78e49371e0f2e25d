"""What a collection holds of a point, and points with another report."""

from dataclasses import replace

import msgspec
import numpy as np
import qdrant_edge as edge

from retrieval.index.edge.collection import EdgeCollection
from retrieval.index.schema import DENSE_VECTORS

TEXT = "large nodule"


def dense(collection, point_id):
    return collection.retrieve([point_id], vectors=DENSE_VECTORS)[point_id].vectors


def terms(collection, point_id):
    """The BM25 vector as the engine holds it: value (float32) by index."""
    if isinstance(collection, EdgeCollection):
        (record,) = collection._shard.retrieve([point_id], with_payload=False, with_vector=["bm25"])
    else:
        (record,) = collection._client.retrieve(collection.name, [point_id], with_payload=False, with_vectors=["bm25"])
    found = (record.vector or {}).get("bm25")
    return in_single_precision(found) if found else {}


def expected_terms(text):
    return in_single_precision(edge.Bm25().embed_document(text))


def in_single_precision(vector):
    return dict(zip(vector.indices, map(np.float32, vector.values), strict=True))


def with_report(point, text, vector, **payload):
    """`point` with another report: `vector` stands for both of its sections, or for none of them."""
    named = {} if vector is None else {"findings": vector, "impression": vector}
    return replace(
        point, vectors=named, text=text, payload=msgspec.structs.replace(point.payload, findings=text, **payload)
    )
