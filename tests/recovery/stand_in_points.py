"""Reads and writes of points in the stand-in for a Qdrant server."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

from tests.recovery.stand_in_http import ErrorResponse

_SELECTOR = TypeAdapter(models.PointsSelector)


class PointRoutes:
    """Handles the routes of points; `client` stores them."""

    client: QdrantClient

    def _require_collection(self, name: str) -> None:
        if not self.client.collection_exists(name):
            raise ErrorResponse(404, f"Not found: Collection `{name}` doesn't exist!")

    def _upsert(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = models.PointsList.model_validate(body)
        known = {record.id for record in self.client.retrieve(name, [point.id for point in request.points])}
        # Local mode normalises a new point in single precision and a known one in double precision. On a server, a
        # repeated write gives the same bits. So each new point is first added without vectors.
        new = [models.PointStruct(id=point.id, vector={}) for point in request.points if point.id not in known]
        if new:
            self.client.upsert(name, new)
        self.client.upsert(name, request.points)
        return update_result()

    def _retrieve(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = models.PointRequest.model_validate(body)
        return self.client.retrieve(
            name,
            request.ids,
            with_payload=_or_default(request.with_payload, True),
            with_vectors=_or_default(request.with_vector, False),
        )

    def _scroll(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = models.ScrollRequest.model_validate(body)
        points, offset = self.client.scroll(
            name,
            scroll_filter=request.filter,
            limit=_or_default(request.limit, 10),
            offset=request.offset,
            with_payload=_or_default(request.with_payload, True),
            with_vectors=_or_default(request.with_vector, False),
        )
        return models.ScrollResult(points=points, next_page_offset=offset)

    def _count(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = models.CountRequest.model_validate(body)
        return self.client.count(name, count_filter=request.filter, exact=_or_default(request.exact, True))

    def _delete_points(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = _SELECTOR.validate_python(body)
        self.client.delete(name, request.points if isinstance(request, models.PointIdsList) else request)
        return update_result()

    def _batch(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        operations = models.UpdateOperations.model_validate(body).operations
        self.client.batch_update_points(name, operations)
        return [update_result() for _ in operations]

    def _query_batch(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        return self.client.query_batch_points(name, models.QueryRequestBatch.model_validate(body).searches)

    def _facet(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = models.FacetRequest.model_validate(body)
        return self.client.facet(
            name,
            request.key,
            facet_filter=request.filter,
            limit=_or_default(request.limit, 10),
            exact=_or_default(request.exact, False),
        )


def update_result() -> models.UpdateResult:
    """Result of a write."""
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _or_default(value: Any, default: Any) -> Any:
    return default if value is None else value
