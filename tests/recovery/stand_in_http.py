"""The HTTP side of the stand-in for a Qdrant server: routes, faults, keys, TLS."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Protocol

from pydantic import ValidationError

Fault = Literal["drop", "lose", "503", "500", "429", "408", "403", "stall"]
"""`drop` closes the connection before the request is handled, `lose` after it, so that the response is lost. A number is
the status of an error response. `stall` sends no response until the client has timed out."""


class ErrorResponse(Exception):
    """A response with a status other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestHandler(Protocol):
    """Handles the requests that the HTTP server receives."""

    retry_after_s: int
    documents: dict[str, Any]

    def next_fault(self, call: str) -> Fault | None:
        """The fault of a request, or None."""

    def stall(self) -> None:
        """Wait until the client has timed out."""

    def accepts_key(self, key: str | None) -> bool:
        """Whether the key is right."""

    def handle(self, route: str, name: str, body: Any) -> Any:
        """Result of one request: `route` as in `ROUTES`, the name of the collection, the parsed body."""


_COLLECTION = r"/collections/(?P<name>[^/]+)"
# HTTP method, path, method of the stand-in, name in `calls`.
ROUTES: list[tuple[str, re.Pattern[str], str, str]] = [
    (method, re.compile(path), route, call_name)
    for method, path, route, call_name in (
        ("GET", r"/collections", "list_collections", "GET collections"),
        ("GET", r"/aliases", "list_aliases", "GET aliases"),
        ("POST", r"/collections/aliases", "change_aliases", "POST aliases"),
        ("GET", rf"{_COLLECTION}/exists", "exists", "GET exists"),
        ("GET", _COLLECTION, "get", "GET collection"),
        ("GET", rf"{_COLLECTION}/cluster", "placement", "GET cluster"),
        ("GET", rf"{_COLLECTION}/optimizations", "optimizations", "GET optimizations"),
        ("PUT", _COLLECTION, "create", "PUT collection"),
        ("PATCH", _COLLECTION, "update", "PATCH collection"),
        ("DELETE", _COLLECTION, "delete", "DELETE collection"),
        ("PUT", rf"{_COLLECTION}/index", "index_field", "PUT index"),
        ("PUT", rf"{_COLLECTION}/points", "upsert", "PUT points"),
        ("POST", rf"{_COLLECTION}/points", "retrieve", "POST points"),
        ("POST", rf"{_COLLECTION}/points/scroll", "scroll", "POST points/scroll"),
        ("POST", rf"{_COLLECTION}/points/count", "count", "POST points/count"),
        ("POST", rf"{_COLLECTION}/points/delete", "delete_points", "POST points/delete"),
        ("POST", rf"{_COLLECTION}/points/batch", "batch", "POST points/batch"),
        ("POST", rf"{_COLLECTION}/points/query/batch", "query_batch", "POST points/query/batch"),
        ("POST", rf"{_COLLECTION}/facet", "facet", "POST facet"),
    )
]


def call_name(method: str, path: str) -> str:
    """Name in `calls` of a request; its path if the stand-in does not know it."""
    path = path.partition("?")[0]
    return next((name for verb, at, _, name in ROUTES if verb == method and at.fullmatch(path)), path)


class StandInServer(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1; `errors` holds errors that no client caused."""

    daemon_threads = True

    def __init__(self, handler: RequestHandler, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.handler = handler
        self.errors: list[BaseException] = []
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"
        self._tls = tls
        self._connections: set[socket.socket] = set()
        # A short interval, because `shutdown` waits for the next poll.
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="stand-in", daemon=True
        )

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close all connections."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in list(self._connections):
            _disconnect(connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # TLS starts here, in the thread of the connection, so that a slow handshake does not delay other clients.
        if self._tls:
            request = self._tls.wrap_socket(request, server_side=True)
        self._connections.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._connections.discard(request)
            _disconnect(request)
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that was killed, timed out, or does not trust the certificate closes its connection.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) and error is not None:
            self.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a response is written in two parts
    server: StandInServer

    def do_GET(self) -> None:
        self._respond()

    do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing; `QdrantStandIn.calls` lists the requests."""

    def _respond(self) -> None:
        handler = self.server.handler
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        found = ((route, call_name, at) for method, at, route, call_name in ROUTES if method == self.command)
        route, call_name, matched = next(
            ((route, call_name, m) for route, call_name, at in found if (m := at.fullmatch(path))),
            ("", self.path, None),
        )
        fault = handler.next_fault(call_name)
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "stall":
            handler.stall()
            self.close_connection = True
            return
        if fault in ("503", "500", "429", "408", "403"):
            headers = {"Retry-After": str(handler.retry_after_s)} if fault == "429" else {}
            self._send(int(fault), {"status": {"error": "planned fault"}, "time": 0.0}, headers)
            return
        status, document = self._handle(route, call_name, matched, content)
        if fault == "lose":
            self.close_connection = True
            return
        self._send(status, document)

    def _handle(self, route: str, call_name: str, matched: re.Match[str] | None, content: bytes) -> tuple[int, Any]:
        handler = self.server.handler
        try:
            if not handler.accepts_key(self.headers.get("api-key")):
                raise ErrorResponse(401, "Must provide an API key or an Authorization bearer token")
            if self.command == "GET" and (path := self.path.partition("?")[0]) in handler.documents:
                return 200, handler.documents[path]
            if matched is None:
                raise ErrorResponse(404, f"the stand-in does not know {self.command} {call_name}")
            body = json.loads(content) if content else None
            result = handler.handle(route, matched.groupdict().get("name", ""), body)
        except ErrorResponse as error:
            return error.status, {"status": {"error": str(error)}, "time": 0.0}
        except (ValidationError, ValueError) as error:
            return 400, {"status": {"error": f"Format error in JSON body: {error}"}, "time": 0.0}
        return 200, {"usage": None, "time": 0.0, "status": "ok", "result": _to_json(result)}

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _to_json(result: Any) -> Any:
    if isinstance(result, list):
        return [_to_json(each) for each in result]
    return result.model_dump(mode="json") if hasattr(result, "model_dump") else result


def _disconnect(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client may have closed it
        connection.shutdown(socket.SHUT_RDWR)
