"""Blocking engine calls in threads, so many at a time, so that the event loop stays free to answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

P = ParamSpec("P")
T = TypeVar("T")


class SearchPermits:
    """At most `limit` engine calls at once; the others wait. More would only share the same cores."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter: CapacityLimiter | None = None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`, run in a thread when a permit is free."""
        if self._limiter is None:
            # A limiter belongs to the event loop it is made in, and none runs yet when the service is wired.
            self._limiter = CapacityLimiter(self._limit)
        return await run_sync(partial(call, *args, **kwargs), limiter=self._limiter)
