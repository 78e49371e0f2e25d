"""How many requests a minute one key, or one address without a key, may send."""

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
    """A bucket for each name, that holds a minute's worth of tokens and fills evenly. In memory, of this process."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute` tokens a minute for each name; 0 never refuses. `clock` gives seconds."""
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        # By name: (tokens, when counted). Longest unused first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, count: int = 1) -> float:
        """Take `count` tokens. 0.0 if they were there, else the seconds until they are."""
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
    """Refuses requests beyond the rate of their key, or of their address if they have none.

    Stands behind `Authentication`. Routes with `UNCOUNTED` in their `opt` are free.
    """

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = "uncounted"

    def __init__(self, per_minute: int) -> None:
        self._buckets = TokenBuckets(per_minute)
        self._per_minute = per_minute

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, or raise."""
        if wait_s := self._take(scope, 1):
            raise RateLimited("too many requests; see CXR_SERVICE_RATE_PER_MINUTE", wait_s)
        await next_app(scope, receive, send)

    def take_further(self, scope: Scope, count: int) -> None:
        """Count `count` requests beside the one that came, as far as a minute has so many.

        Raises:
            RateLimited: there is no room for them; none of them is counted.
        """
        if wait_s := self._take(scope, min(count, self._per_minute - 1)):
            raise RateLimited(
                f"this batch counts as {count + 1} requests, which are too many; see CXR_SERVICE_RATE_PER_MINUTE",
                wait_s + 60 / self._per_minute,  # the batch itself is counted when it comes again
            )

    def _take(self, scope: Scope, count: int) -> float:
        name = scope["auth"].name
        return self._buckets.take(f"key {name}" if name else f"address {address_of(scope)}", count)


def address_of(scope: Scope) -> str:
    """The address that the request came from, or its /64 of IPv6; a proxy's own, if there is one in front."""
    client = scope.get("client")
    return network_of(client[0]) if client else ""


def network_of(address: str) -> str:
    """The address, or the /64 of an IPv6 address: who has one of these has all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a name, or an address with a zone
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
