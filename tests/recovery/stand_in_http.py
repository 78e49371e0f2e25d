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

Fault = Literal["drop", "lose", "503", "500", "429", "stall"]
"""The connection is dropped before the request is handled, or after it (`lose`: the answer is lost); an error is
answered; nothing is answered until long after the client has given up."""


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Answers(Protocol):
    """What stands behind the HTTP server."""

    retry_after_s: int

    def draw(self, call: str) -> Fault | None:
        """The fault that a request meets."""

    def stall(self) -> None:
        """Wait until the client has given up."""

    def admits(self, key: str | None) -> bool:
        """Whether the key is right."""

    def handle(self, route: str, name: str, body: Any) -> Any:
        """Answer one request: `route` as in `_ROUTES`, the collection's name, the parsed body."""


_COLLECTION = r"/collections/(?P<name>[^/]+)"
# Method, path, the method of the stand-in that answers, what `calls` names it.
_ROUTES: list[tuple[str, re.Pattern[str], str, str]] = [
    (method, re.compile(path), route, called)
    for method, path, route, called in (
        ("GET", r"/collections", "list_collections", "GET collections"),
        ("GET", r"/aliases", "list_aliases", "GET aliases"),
        ("POST", r"/collections/aliases", "change_aliases", "POST aliases"),
        ("GET", rf"{_COLLECTION}/exists", "exists", "GET exists"),
        ("GET", _COLLECTION, "get", "GET collection"),
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


class StandInServer(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1; `crashes` holds errors that no client can have caused."""

    daemon_threads = True

    def __init__(self, answers: Answers, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.crashes: list[BaseException] = []
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}"
        self._tls = tls
        self._connections: set[socket.socket] = set()
        # A short poll, because `shutdown` waits for one.
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="stand-in", daemon=True
        )

    def start(self) -> None:
        """Serve, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more, and hang up on everybody."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in list(self._connections):
            _hang_up(connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Wrapped here, in the thread of the connection, so that a slow handshake holds nobody up.
        if self._tls:
            request = self._tls.wrap_socket(request, server_side=True)
        self._connections.add(request)
        try:
            super().finish_request(request, client_address)
        finally:
            self._connections.discard(request)
            _hang_up(request)
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that was killed, gave up, or does not trust the certificate, breaks its connection.
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) and error is not None:
            self.crashes.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is written in two pieces
    server: StandInServer

    def do_GET(self) -> None:
        self._answer()

    do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing; `QdrantStandIn.calls` holds the log."""

    def _answer(self) -> None:
        answers = self.server.answers
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        found = ((route, called, at) for method, at, route, called in _ROUTES if method == self.command)
        route, called, matched = next(
            ((route, called, m) for route, called, at in found if (m := at.fullmatch(path))), ("", self.path, None)
        )
        fault = answers.draw(called)
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "stall":
            answers.stall()
            self.close_connection = True
            return
        if fault in ("503", "500", "429"):
            headers = {"Retry-After": str(answers.retry_after_s)} if fault == "429" else {}
            self._send(int(fault), {"status": {"error": "it was planned"}, "time": 0.0}, headers)
            return
        status, document = self._handle(route, called, matched, content)
        if fault == "lose":
            self.close_connection = True
            return
        self._send(status, document)

    def _handle(self, route: str, called: str, matched: re.Match[str] | None, content: bytes) -> tuple[int, Any]:
        answers = self.server.answers
        try:
            if not answers.admits(self.headers.get("api-key")):
                raise Refusal(401, "Must provide an API key or an Authorization bearer token")
            if matched is None:
                raise Refusal(404, f"the stand-in does not know {self.command} {called}")
            body = json.loads(content) if content else None
            result = answers.handle(route, matched.groupdict().get("name", ""), body)
        except Refusal as refusal:
            return refusal.status, {"status": {"error": str(refusal)}, "time": 0.0}
        except (ValidationError, ValueError) as error:
            return 400, {"status": {"error": f"Format error in JSON body: {error}"}, "time": 0.0}
        return 200, {"usage": None, "time": 0.0, "status": "ok", "result": _plain(result)}

    def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _plain(result: Any) -> Any:
    if isinstance(result, list):
        return [_plain(each) for each in result]
    return result.model_dump(mode="json") if hasattr(result, "model_dump") else result


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        connection.shutdown(socket.SHUT_RDWR)
