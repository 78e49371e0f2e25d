"""Every request, seen from outside all routing: its id, its line in the log, its metrics, its span, its `Server-Timing`."""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A method may be any word; a metric or a span must not be made for each.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = logging.getLogger("cxr.service.requests")


@dataclass(slots=True)
class Exchange:
    """One request and its answer, in terms that name no patient: the route stands for the path, the query is left out."""

    request_id: str
    method: str
    route: str = "(none)"
    """Template of the route; `(none)` where no route fits."""
    status: int | None = None
    code: str | None = None
    """Of the problem that was answered, if one was."""
    size_bytes: int = 0
    """Of the answer's body."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    elapsed_ms: float = 0.0


class Observation:
    """Wraps the whole application, so that it sees unknown routes and refusals, too."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and tell of it when it is over."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = Exchange(_request_id(headers), scope["method"] if scope["method"] in _METHODS else "(other)")
        scope["state"] |= {"request_id": exchange.request_id, "stages_ms": exchange.stages_ms}
        start = time.perf_counter()

        async def observed(message: Message) -> None:
            exchange.elapsed_ms = (time.perf_counter() - start) * 1000
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], *_headers_of(exchange)]
            elif message["type"] == "http.response.body":
                exchange.size_bytes += len(message.get("body", b""))
            await send(message)

        with bound_contextvars(request_id=exchange.request_id), self._span(exchange, headers):
            try:
                await self._app(scope, receive, observed)
            finally:
                exchange.route = scope.get("path_template", exchange.route)
                exchange.code = scope["state"].get("code")
                exchange.status = exchange.status or 500
                exchange.elapsed_ms = (time.perf_counter() - start) * 1000
                self._metrics.observe_request(
                    exchange.method, exchange.route, exchange.status, exchange.elapsed_ms / 1000
                )
                self._metrics.observe_stages(exchange.stages_ms)
                if exchange.code:
                    self._metrics.observe_problem(exchange.code)
                _log_line(exchange)

    def _span(self, exchange: Exchange, headers: dict[bytes, bytes]) -> AbstractContextManager[Any]:
        return self._tracing.span(exchange, headers) if self._tracing else nullcontext()


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own id if it is short and plain, so that it can be found in the logs of both; else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _SAFE_ID.fullmatch(given) else secrets.token_hex(16)


def _headers_of(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", exchange.request_id.encode())]
    if exchange.stages_ms:
        stages = exchange.stages_ms | {"total": exchange.elapsed_ms}
        timing = ", ".join(f"{stage};dur={milliseconds:.1f}" for stage, milliseconds in stages.items())
        headers.append((b"server-timing", timing.encode()))
    return headers


def _log_line(exchange: Exchange) -> None:
    fields = {
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "ms": round(exchange.elapsed_ms, 1),
        "bytes": exchange.size_bytes,
    }
    if exchange.code:
        fields["code"] = exchange.code
    # The service's failures stand out; what clients do wrong is their matter.
    failed = exchange.status is not None and exchange.status >= 500
    _log.log(logging.WARNING if failed else logging.INFO, "request", extra=fields)
