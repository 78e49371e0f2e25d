"""Limits the memory of all request bodies together: a few large ones would fill a small machine."""

from __future__ import annotations

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from service.refusals import Overloaded

LIMIT_HELD_BYTES = 384 * 1024 * 1024
"""Enough for six of the largest uploads, or twenty 8-bit radiographs of 16 million pixels."""


class BodyBudget(ASGIMiddleware):
    """Refuses bodies that exceed the limit together with those of other requests; the first `free_bytes` do not count.

    It counts received bytes, not `Content-Length`, so that a client cannot reserve memory without sending anything.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, *, free_bytes: int, limit_bytes: int = LIMIT_HELD_BYTES) -> None:
        self.held_bytes = 0
        self._free_bytes = free_bytes
        self._limit_bytes = limit_bytes

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on with a `receive` that raises Overloaded."""
        arrived = counted = 0

        async def receive_within() -> HTTPReceiveMessage:
            nonlocal arrived, counted
            message = await receive()
            arrived += len(message.get("body", b""))  # type: ignore[arg-type]
            more = max(0, arrived - self._free_bytes) - counted
            if self.held_bytes + more > self._limit_bytes:
                raise Overloaded(
                    "other uploads use all the memory for request bodies; try again later",
                    headers={
                        "Retry-After": "1",
                        "Connection": "close",
                    },  # the rest of the body would be read as the next request
                )
            counted += more
            self.held_bytes += more
            return message  # type: ignore[return-value]

        try:
            await next_app(scope, receive_within, send)
        finally:
            self.held_bytes -= counted
