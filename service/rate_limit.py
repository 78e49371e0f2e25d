"""How many requests a minute one key, or one address without a key, may send."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from service.refusals import RateLimited

_LIMIT = 10_000


class TokenBuckets:
    """A bucket for each name, that holds a minute's worth of tokens and fills evenly. In memory, of this process."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute` tokens a minute for each name; 0 never refuses. `clock` gives seconds."""
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        # By name: (tokens, when counted). Longest unused first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take a token. 0.0 if there was one, else the seconds until there is."""
        if not self._capacity:
            return 0.0
        now = self._clock()
        held, counted = self._buckets.pop(name, (self._capacity, now))
        held = min(self._capacity, held + (now - counted) * self._per_second)
        wait_s = 0.0 if held >= 1 else (1 - held) / self._per_second
        self._buckets[name] = (held - 1 if not wait_s else held, now)
        if len(self._buckets) > _LIMIT:
            self._buckets.popitem(last=False)
        return wait_s


class RateLimit(ASGIMiddleware):
    """Refuses requests beyond the rate of their key, or of their address if they have none.

    Stands behind `Authentication`. Routes with `UNCOUNTED` in their `opt` are free.
    """

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = "uncounted"

    def __init__(self, per_minute: int) -> None:
        self._buckets = TokenBuckets(per_minute)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, or raise."""
        name = scope["auth"].name
        wait_s = self._buckets.take(f"key {name}" if name else f"address {address_of(scope)}")
        if wait_s:
            raise RateLimited("too many requests; see CXR_SERVICE_RATE_PER_MINUTE", wait_s)
        await next_app(scope, receive, send)


def address_of(scope: Scope) -> str:
    """The address that the request came from; a proxy's own, if there is one in front."""
    client = scope.get("client")
    return client[0] if client else ""
