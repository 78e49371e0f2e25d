"""Graceful shutdown: running requests are finished, new ones are refused."""

from __future__ import annotations

import asyncio
import math
import time

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from service.refusals import Draining

CLOSING_S = 2.0
"""Part of the grace period (at most half) for answering requests that are cut off, and for closing."""
WHILE_DRAINING = "answers_while_draining"
"""Key of a handler's `opt`: the route answers while the service drains, as health checks must."""


class Drain(ASGIMiddleware):
    """Counts running requests. While draining, it refuses new ones and cuts off the others before the grace period ends."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = WHILE_DRAINING

    def __init__(self, *, grace_s: float, notice_s: float = 0.0) -> None:
        """The process ends within `grace_s` seconds, but not before load balancers had `notice_s` to notice."""
        self._closing_s = min(CLOSING_S, grace_s / 2)
        self._grace_s = max(grace_s, notice_s + self._closing_s)
        self._notice_s = notice_s
        self._began: float | None = None
        self._limits: set[asyncio.Timeout] = set()

    @property
    def draining(self) -> bool:
        """Whether the service is stopping."""
        return self._began is not None

    @property
    def active(self) -> int:
        """Number of requests that run or wait."""
        return len(self._limits)

    @property
    def left_s(self) -> float:
        """Seconds until the process must have ended; infinite while the service is not stopping."""
        return math.inf if self._began is None else max(0.0, self._began + self._grace_s - time.monotonic())

    def begin(self) -> None:
        """Refuse new requests from now on. Safe in a signal handler."""
        self._began = self._began or time.monotonic()

    def cut_off_requests(self) -> None:
        """Cut off running requests at once."""
        self.begin()
        self._notice_s = 0.0
        self._grace_s -= max(0.0, self.left_s - self._closing_s)

    def require_open(self) -> None:
        """Refuse a request if the service is stopping.

        Raises:
            Draining: it is.
        """
        if self.draining:
            raise _refuse("the service is stopping and takes no new requests")

    def update_deadlines(self) -> bool:
        """Whether the service may end now. Sets the deadline of running requests; call it in the event loop."""
        if self._began is None:
            return False
        cut_off = asyncio.get_running_loop().time() + max(0.0, self.left_s - self._closing_s)
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(cut_off)
        ended = self.active == 0 or self.left_s <= self._closing_s * 0.75
        return ended and time.monotonic() >= self._began + self._notice_s

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on unless the service is stopping.

        Raises:
            Draining: the service is stopping, or stopped before the request ended.
        """
        self.require_open()
        try:
            async with asyncio.timeout(None) as limit:
                self._limits.add(limit)
                try:
                    await next_app(scope, receive, send)
                finally:
                    self._limits.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise _refuse("the service stopped before the request ended") from None


def _refuse(message: str) -> Draining:
    return Draining(message, headers={"Connection": "close", "Retry-After": "1"})
