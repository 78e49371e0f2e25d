"""Connections to the nodes of a cluster: a request goes to a node that answers."""

from __future__ import annotations

import logging
import math
import ssl
import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from retrieval.index import deadline

_KEPT_FOR_S = 4.0
"""Seconds for which an idle connection is kept. The server closes it after 5."""

_MAX_KEPT = 64

_CONNECT_S = 2.0
"""Seconds to connect while other nodes are left. A machine that is off does not even refuse a connection."""

_LEAST_S = 0.1
"""Seconds for which a node is waited for when the time of a search is over."""

_NODE_IN_TROUBLE = (408, 500, 502, 503, 504)
"""Answers whose reason may be this node alone, so that the next request takes another one."""

_log = logging.getLogger(__name__)


class KeptConnections(httpx.BaseTransport):
    """Connections that are kept between requests, without compression of the answers."""

    def __init__(self, url: str, verify: ssl.SSLContext) -> None:
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


@dataclass(frozen=True, slots=True)
class _Node:
    address: httpx.URL
    connections: KeptConnections

    def send(self, request: httpx.Request, *, connect_s: float, limit_s: float, keep_order: bool) -> httpx.Response:
        """The answer to `request`, which carries its timeout to the server, too."""
        target, is_write = request.url.raw_path, b"wait=" in request.url.query
        if b"/collections" in target and b"/snapshots" not in target:
            target += b"%stimeout=%d" % (b"&" if b"?" in target else b"?", math.ceil(limit_s))
        if keep_order and is_write:
            target += b"&ordering=medium"
        address = self.address
        url = request.url.copy_with(scheme=address.scheme, host=address.host, port=address.port, raw_path=target)
        request.headers["host"] = url.netloc.decode("ascii")
        timeout = {"connect": connect_s, "read": limit_s, "write": limit_s, "pool": limit_s}
        extensions = request.extensions | {"timeout": timeout}
        response = self.connections.handle_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)
        )
        kind = response.headers.get("content-type", "")
        if response.is_success and b"/snapshots" not in target and not kind.startswith("application/json"):
            response.close()
            raise httpx.RemoteProtocolError("the answer is not that of a Qdrant server")
        return response


class Nodes(httpx.BaseTransport):
    """The nodes of one cluster, or one server.

    A request goes to the first node. If that does not answer, it becomes the last, and the request goes to the next. So
    each request begins with the node that answered the one before, and a node that was away is asked again when the others
    are. In a search each node has half of the time that is left, and the last one all of it. Other requests give each node
    all of their timeout: a node needs 10 s to notice that another one, which it asks, is stopped.

    Every request may be sent twice. With several nodes, writes ask the server to keep their order (`ordering: medium`).
    """

    def __init__(self, urls: Sequence[str], verify: ssl.SSLContext | bool) -> None:
        """Connect to the nodes at `urls` when there is a request; `verify` as in httpx."""
        self._lock = threading.Lock()
        context = httpx.create_ssl_context(verify)
        self._nodes = [_Node(httpx.URL(url), KeptConnections(url, context)) for url in urls]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to `request` within what is left for its search, else within its own timeout for each node.

        Raises:
            httpx.TransportError: no node answers; the error of the first.
        """
        with self._lock:
            nodes = list(self._nodes)
        errors: list[httpx.TransportError] = []
        for others, node in zip(reversed(range(len(nodes))), nodes, strict=True):
            left_s = deadline.left_s()
            limit_s = (
                request.extensions["timeout"]["read"]
                if left_s is None
                else max(_LEAST_S, left_s / 2 if others else left_s)
            )
            connect_s = min(limit_s, _CONNECT_S) if others else limit_s
            try:
                response = node.send(request, connect_s=connect_s, limit_s=limit_s, keep_order=len(nodes) > 1)
            except httpx.TransportError as error:
                errors.append(error)
                self._put_last(node, str(error) or type(error).__name__)
                continue
            if response.status_code in _NODE_IN_TROUBLE:
                self._put_last(node, f"status {response.status_code}")
            return response
        raise errors[0]

    def close(self) -> None:
        """Close all connections."""
        for node in self._nodes:
            node.connections.close()

    def _put_last(self, node: _Node, reason: str) -> None:
        with self._lock:
            if len(self._nodes) == 1 or self._nodes[0] is not node:
                return
            self._nodes = [*self._nodes[1:], node]
            following = self._nodes[0].address
        _log.warning("the Qdrant node %s is away (%s); going on with %s", node.address, reason, following)


def _proxy_of(url: str) -> str | None:
    address = urlsplit(url)
    if urllib.request.proxy_bypass(address.hostname or ""):
        return None
    return urllib.request.getproxies().get(address.scheme)
