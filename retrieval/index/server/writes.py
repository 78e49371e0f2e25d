"""Writes of points: requests as plain JSON, which the server has applied on all replicas when they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrieval.index.interface import IndexPoint
from retrieval.index.schema import SPARSE_VECTOR, TEXT_VECTORS
from retrieval.index.server.http import ServerClient
from retrieval.index.server.search import BM25, sparse_of
from retrieval.index_address import collection_path


def upsert_points(client: ServerClient, name: str, points: Sequence[IndexPoint]) -> None:
    """Store `points` in the collection `name`, replacing those of the same id."""
    body = [{"id": point.point_id, "vector": _vectors_of(point), "payload": point.payload} for point in points]
    client.write("PUT", f"{collection_path(name)}/points", {"points": body})


def replace_reports(client: ServerClient, name: str, points: Sequence[IndexPoint]) -> None:
    """Replace payload, text vectors and BM25 terms of stored points, in one request.

    The payload comes last: a resumed run compares it to find what is done.
    """
    given = {point.point_id: _vectors_of(point) for point in points}
    operations: list[dict[str, Any]] = []
    for vector in (*TEXT_VECTORS, SPARSE_VECTOR):
        if lacking := [point_id for point_id, vectors in given.items() if vector not in vectors]:
            operations.append({"delete_vectors": {"points": lacking, "vector": [vector]}})
    if new := [{"id": point_id, "vector": vectors} for point_id, vectors in given.items() if vectors]:
        operations.append({"update_vectors": {"points": new}})
    operations += [{"overwrite_payload": {"payload": point.payload, "points": [point.point_id]}} for point in points]
    client.write("POST", f"{collection_path(name)}/points/batch", {"operations": operations})


def delete_points(client: ServerClient, name: str, point_ids: Sequence[str]) -> None:
    """Remove points; unknown ids are ignored."""
    client.write("POST", f"{collection_path(name)}/points/delete", {"points": list(point_ids)})


def _vectors_of(point: IndexPoint) -> dict[str, Any]:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        vectors[SPARSE_VECTOR] = sparse_of(BM25.embed_document(point.text))
    return vectors
