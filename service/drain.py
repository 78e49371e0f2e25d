"""Stopping without cutting anybody off: what runs is finished, what is new goes elsewhere."""

from __future__ import annotations

import asyncio
import time

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from service.refusals import Draining

# For requests to answer that they were cut off; then the service ends without them.
_CUT_OFF_S = 2.0
WHILE_DRAINING = "answers_while_draining"
"""Key of a handler's `opt`: answers to the end, as health does."""


class Drain(ASGIMiddleware):
    """Counts the requests that run; once begun, refuses new ones and gives the others `grace_s` seconds to end."""

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = WHILE_DRAINING

    def __init__(self, *, grace_s: float, notice_s: float = 0.0) -> None:
        """Give running requests `grace_s` seconds, and load balancers at least `notice_s` to notice."""
        self._grace_s = grace_s
        self._notice_s = notice_s
        self._began: float | None = None
        self._limits: set[asyncio.Timeout] = set()

    @property
    def draining(self) -> bool:
        """Whether the service is stopping."""
        return self._began is not None

    @property
    def active(self) -> int:
        """Requests that run or wait."""
        return len(self._limits)

    def begin(self) -> None:
        """From now on refuse new requests. May be called from a signal handler."""
        self._began = self._began or time.monotonic()

    def require_open(self) -> None:
        """Refuse when the service is stopping.

        Raises:
            Draining: it is.
        """
        if self.draining:
            raise _refuse("the service is stopping and takes no new requests")

    def advance(self) -> bool:
        """Bound the requests that still run, and tell whether the service may end. Called in the event loop."""
        if self._began is None:
            return False
        left_s = self._began + self._grace_s - time.monotonic()
        for limit in self._limits:
            if limit.when() is None:
                limit.reschedule(asyncio.get_running_loop().time() + max(left_s, 0.0))
        ended = self.active == 0 or left_s < -_CUT_OFF_S
        return ended and time.monotonic() >= self._began + self._notice_s

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on while the service is not stopping.

        Raises:
            Draining: it is; or it stopped and the request did not end in the time it was given.
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
            raise _refuse("the service stopped before the request was done") from None


def _refuse(message: str) -> Draining:
    return Draining(message, headers={"Connection": "close", "Retry-After": "1"})
