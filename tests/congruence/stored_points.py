"""What a collection holds of a point, and points with another report."""

from dataclasses import replace

import msgspec
import qdrant_edge as edge

from retrieval.index.edge.collection import EdgeCollection
from retrieval.index.schema import DENSE_VECTORS
from tests.congruence.conftest import NAME

TEXT = "large nodule"


def dense(collection, point_id):
    return collection.retrieve([point_id], vectors=DENSE_VECTORS)[point_id].vectors


def terms(collection, point_id):
    """The BM25 vector as the engine holds it: value by index."""
    if isinstance(collection, EdgeCollection):
        (record,) = collection._shard.retrieve([point_id], with_payload=False, with_vector=["bm25"])
    else:
        (record,) = collection._client.retrieve(NAME, [point_id], with_payload=False, with_vectors=["bm25"])
    found = (record.vector or {}).get("bm25")
    return dict(zip(found.indices, found.values, strict=True)) if found else {}


def expected_terms(text):
    made = edge.Bm25().embed_document(text)
    return dict(zip(made.indices, made.values, strict=True))


def with_report(point, text, vector, **payload):
    """`point` with another report: `vector` stands for both of its sections, or for none of them."""
    named = {} if vector is None else {"findings": vector, "impression": vector}
    return replace(
        point, vectors=named, text=text, payload=msgspec.structs.replace(point.payload, findings=text, **payload)
    )
