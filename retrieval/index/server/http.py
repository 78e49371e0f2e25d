"""Connections to a Qdrant server: qdrant-client for administration, plain JSON for searches and for loading.

qdrant-client copies every vector of a request and validates every value of an answer, which takes about as long as the
server needs for a search (benchmarks/results, "Clients").
"""

from __future__ import annotations

import ssl
import urllib.request
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

T = TypeVar("T")

_KEPT_FOR_S = 4.0
"""Seconds for which an idle connection is kept. The server closes it after 5."""

_MAX_KEPT = 64


class KeptConnections(httpx.BaseTransport):
    """Connections that are kept between requests, without compression of the answers."""

    def __init__(self, url: str, verify: ssl.SSLContext | bool) -> None:
        """Connections to the server at `url`, through the proxy that the environment names for it."""
        self._transport = httpx.HTTPTransport(
            verify=verify,
            proxy=_proxy_of(url),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=_MAX_KEPT, keepalive_expiry=_KEPT_FOR_S
            ),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`. The server sends a compressed answer in two parts, and the second waits 40 ms."""
        request.headers["accept-encoding"] = "identity"
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()


class ServerClient(QdrantClient):
    """A client of the server at `url`, with `call` for requests that are sent and read without copies."""

    def __init__(self, url: str, *, api_key: str | None, timeout_s: int, verify: ssl.SSLContext | bool = True) -> None:
        """Connect when the first request is sent; each waits `timeout_s` for its answer.

        Raises:
            ValueError: `url` is not an address.
        """
        connections = KeptConnections(url, verify)
        super().__init__(url=url, api_key=api_key, timeout=timeout_s, check_compatibility=False, transport=connections)
        self._plain = httpx.Client(
            base_url=url,
            headers={"content-type": "application/json"} | ({"api-key": api_key} if api_key else {}),
            timeout=timeout_s,
            transport=connections,
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

    def close(self, grpc_grace: float | None = None, **kwargs: Any) -> None:
        """Close all connections."""
        self._plain.close()
        super().close(grpc_grace, **kwargs)


class _Answer(msgspec.Struct, Generic[T]):
    result: T


def _proxy_of(url: str) -> str | None:
    address = urlsplit(url)
    if urllib.request.proxy_bypass(address.hostname or ""):
        return None
    return urllib.request.getproxies().get(address.scheme)
