"""Connections to a Qdrant server: qdrant-client for administration, plain JSON for searches and for loading.

qdrant-client copies every vector of a request and validates every value of an answer: the second request of a search then
takes 6.4 ms instead of 3.5 (benchmarks/results, "Clients").
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import httpx
import msgspec
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from retrieval.index.server.nodes import Nodes

T = TypeVar("T")


class ServerClient(QdrantClient):
    """A client of one server or cluster, with `call` for requests that are sent and read without copies."""

    def __init__(
        self, urls: Sequence[str], *, api_key: str | None, timeout_s: int, verify: ssl.SSLContext | bool = True
    ) -> None:
        """Connect to the nodes at `urls` when the first request is sent; each waits `timeout_s` for its answer.

        Raises:
            ValueError: the first of `urls` is not an address.
        """
        connections = Nodes(urls, verify)
        self._plain = httpx.Client(
            base_url=urls[0],
            headers={"content-type": "application/json"} | ({"api-key": api_key} if api_key else {}),
            timeout=timeout_s,
            transport=connections,
        )
        with warnings.catch_warnings():
            # `cxr doctor` says it once.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
            super().__init__(
                url=urls[0], api_key=api_key, timeout=timeout_s, check_compatibility=False, transport=connections
            )

    def call(self, method: str, path: str, body: Any, answer: type[T], **params: str | int) -> T:
        """The result of one request: `body` as JSON, the answer decoded as `answer`, `params` in the address.

        Raises:
            UnexpectedResponse, ResourceExhaustedResponse, ResponseHandlingException: as every call of qdrant-client.
        """
        content = None if body is None else msgspec.json.encode(body)
        try:
            response = self._plain.request(method, path, content=content, params=params or None)
        except httpx.HTTPError as error:
            raise ResponseHandlingException(error) from error
        if response.status_code == 429 and "retry-after" in response.headers:
            raise ResourceExhaustedResponse("too many requests", int(response.headers["retry-after"]))
        if not response.is_success:
            raise UnexpectedResponse.for_response(response)
        try:
            return msgspec.json.decode(response.content, type=_Answer[answer]).result  # type: ignore[valid-type]
        except msgspec.MsgspecError as error:
            raise ResponseHandlingException(error) from error

    def write(self, method: str, path: str, body: Any) -> Any:
        """The result of one write as `call`: its `status` is `completed` if all replicas that answer have applied it."""
        answer: Any = _Written | list[_Written]
        return self.call(method, path, body, answer, wait="true")

    def close(self, grpc_grace: float | None = None, **kwargs: Any) -> None:
        """Close all connections."""
        self._plain.close()
        super().close(grpc_grace, **kwargs)


class _Answer(msgspec.Struct, Generic[T]):
    result: T


class _Written(msgspec.Struct):
    status: str
