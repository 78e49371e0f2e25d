"""Gives every request an id, a log line, metrics, a span and the header `Server-Timing`."""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.telemetry.metrics import Metrics
from service.telemetry.observed_request import ObservedRequest
from service.telemetry.tracing import Tracing

_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Clients may invent methods. Metrics must not get a new label for each.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_log = logging.getLogger("cxr.service.requests")


class RequestObserver:
    """Wraps the whole application, so that it also sees unknown routes and refused requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and report it when it has ended."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        observed = ObservedRequest(_request_id(headers), scope["method"] if scope["method"] in _METHODS else "(other)")
        scope["state"] |= {"request_id": observed.request_id, "stages_ms": observed.stages_ms}
        start = time.perf_counter()

        async def send_observed(message: Message) -> None:
            observed.elapsed_ms = (time.perf_counter() - start) * 1000
            if message["type"] == "http.response.start":
                observed.status = message["status"]
                message["headers"] = [*message["headers"], *_headers_of(observed)]
            elif message["type"] == "http.response.body":
                observed.size_bytes += len(message.get("body", b""))
            await send(message)

        with bound_contextvars(request_id=observed.request_id), self._span(observed, headers):
            try:
                await self._app(scope, receive, send_observed)
            finally:
                observed.route = scope.get("path_template", observed.route)
                observed.code = scope["state"].get("code")
                observed.status = observed.status or 500
                observed.elapsed_ms = (time.perf_counter() - start) * 1000
                self._metrics.observe_request(
                    observed.method, observed.route, observed.status, observed.elapsed_ms / 1000
                )
                self._metrics.observe_stages(observed.stages_ms)
                if observed.code:
                    self._metrics.observe_problem(observed.code)
                _log_line(observed)

    def _span(self, observed: ObservedRequest, headers: dict[bytes, bytes]) -> AbstractContextManager[Any]:
        return self._tracing.span(observed, headers) if self._tracing else nullcontext()


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own id if it is short and plain, to match the logs of client and service; else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _SAFE_ID.fullmatch(given) else secrets.token_hex(16)


def _headers_of(observed: ObservedRequest) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", observed.request_id.encode())]
    if observed.stages_ms:
        stages = observed.stages_ms | {"total": observed.elapsed_ms}
        timing = ", ".join(f"{stage};dur={milliseconds:.1f}" for stage, milliseconds in stages.items())
        headers.append((b"server-timing", timing.encode()))
    return headers


def _log_line(observed: ObservedRequest) -> None:
    fields = {
        "method": observed.method,
        "route": observed.route,
        "status": observed.status,
        "ms": round(observed.elapsed_ms, 1),
        "bytes": observed.size_bytes,
    }
    if observed.code:
        fields["code"] = observed.code
    # Failures of the service stand out; errors of clients do not.
    failed = observed.status is not None and observed.status >= 500
    _log.log(logging.WARNING if failed else logging.INFO, "request", extra=fields)
