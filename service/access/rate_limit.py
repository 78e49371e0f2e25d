"""Rate limit: requests per minute of one key, or of one address without a key."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from service.refusals import RateLimited

_LIMIT = 10_000


class TokenBuckets:
    """Token buckets by name. A bucket holds the tokens of one minute and refills evenly. Kept in memory."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute` tokens for each name; 0 means no limit. `clock` gives seconds."""
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        # Name -> (tokens, time of that count), least recently used first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, count: int = 1) -> float:
        """Take `count` tokens; 0.0 if they were available, else the seconds until they will be."""
        if not self._capacity:
            return 0.0
        now = self._clock()
        held, counted = self._buckets.pop(name, (self._capacity, now))
        held = min(self._capacity, held + (now - counted) * self._per_second)
        wait_s = 0.0 if held >= count else (count - held) / self._per_second
        self._buckets[name] = (held - count if not wait_s else held, now)
        if len(self._buckets) > _LIMIT:
            self._buckets.popitem(last=False)
        return wait_s


class RateLimit(ASGIMiddleware):
    """Refuses excess requests of a key, or of an address without a key, with 429.

    Runs after `Authentication`. Routes with `UNCOUNTED` in their `opt` are not limited.
    """

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = "uncounted"

    def __init__(self, per_minute: int) -> None:
        self._buckets = TokenBuckets(per_minute)
        self._per_minute = per_minute

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, or raise `RateLimited`."""
        if wait_s := self._take(scope, 1):
            raise RateLimited("too many requests; see CXR_SERVICE_RATE_PER_MINUTE", wait_s)
        await next_app(scope, receive, send)

    def count_more(self, scope: Scope, count: int) -> None:
        """Count `count` requests in addition to this one, but never more than one minute allows.

        Raises:
            RateLimited: they exceed the limit; none of them is counted.
        """
        if wait_s := self._take(scope, min(count, self._per_minute - 1)):
            raise RateLimited(
                f"too many requests: this batch counts as {count + 1}; see CXR_SERVICE_RATE_PER_MINUTE",
                wait_s + 60 / self._per_minute,  # the retry itself counts as one more
            )

    def _take(self, scope: Scope, count: int) -> float:
        name = scope["auth"].name
        return self._buckets.take(f"key {name}" if name else f"address {address_of(scope)}", count)


def address_of(scope: Scope) -> str:
    """Client address of the request, or its /64 for IPv6. Behind a proxy it is the proxy's address."""
    client = scope.get("client")
    return network_of(client[0]) if client else ""


def network_of(address: str) -> str:
    """The address, or the /64 of an IPv6 address, because one client usually owns the whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a name, or an address with a zone
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
