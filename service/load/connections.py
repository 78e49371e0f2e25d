"""Limits for connections: time for a request's head and for reading an answer, and places for so many connections.

uvicorn's protocol has none of them: an idle connection would keep its descriptor for ever. granian 2.8.9 was tried first
and measured (benchmarks/results, "Idle connections"): idle connections hold its places until its header timeout, it
bounds neither slow readers nor one address, and stopping waits for both without limit.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.access.rate_limit import network_of
from service.load.chunks import BoundedConnection
from service.settings import ServiceSettings

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None  # type: ignore[assignment]

# For the index, thumbnails, the audit log, processes that decode, and connections that are being closed.
_RESERVED_DESCRIPTORS = 256
_LOGGED_EVERY_S = 60.0
_LIMIT_HEAD_BYTES = 64 * 1024
# asyncio tries again to accept a second after it failed.
_ACCEPT_PAUSE_S = 0.5
ACCEPTED_AT_ONCE = 16
"""Connections accepted before the first of them is handled: a flood must not take all descriptors in one turn."""
_log = logging.getLogger("cxr.service")


class Connections:
    """The open connections of one event loop, at most `limit` in all and `per_address` from one address.

    A further one is taken and another closed: of those that wait for their client one without a request first, then one
    without a key, of these the one that has waited longest. A connection whose request is at work is never closed; where
    all are at work, the new one is.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self.limit = limit
        self.per_address = per_address
        # Those that have done what they do now for the longest time first.
        self._open: dict[BoundedProtocol, None] = {}
        self._of_address: defaultdict[str, dict[BoundedProtocol, None]] = defaultdict(dict)
        self._closed = 0
        self._logged = -_LOGGED_EVERY_S
        self._shrunk = -_ACCEPT_PAUSE_S

    def __len__(self) -> int:
        return len(self._open)

    def add(self, new: BoundedProtocol) -> None:
        """Count a connection, and close one if it is one too many."""
        same = self._of_address[new.address]
        self._open[new] = same[new] = None
        if len(same) > self.per_address:
            self._close_one(same, new, f"one address holds {self.per_address} (CXR_SERVICE_CONNECTIONS_PER_ADDRESS)")
        elif len(self._open) > self.limit:
            self._close_one(self._open, new, f"{self.limit} are open (CXR_SERVICE_CONNECTIONS)")

    def renew(self, connection: BoundedProtocol) -> None:
        """Note that a connection, if it is counted, begins to do something else."""
        if connection in self._open:
            for held in (self._open, self._of_address[connection.address]):
                del held[connection]
                held[connection] = None

    def discard(self, connection: BoundedProtocol) -> None:
        """Count a connection no more."""
        if connection in self._open:
            del self._open[connection], self._of_address[connection.address][connection]
            if not self._of_address[connection.address]:
                del self._of_address[connection.address]

    def shrink(self) -> None:
        """Allow fewer connections from now on, because the process had no file descriptor left to accept another."""
        now = time.monotonic()
        if now - self._shrunk < _ACCEPT_PAUSE_S:  # of the tries of one turn each fails
            return
        self._shrunk = now
        self.limit = max(1, min(self.limit, len(self._open) - 2 * ACCEPTED_AT_ONCE))
        for _ in range(len(self._open) - self.limit):
            self._close_one(self._open, None, f"no file descriptor is left (ulimit -n); now {self.limit} may be open")

    def _close_one(self, among: Iterable[BoundedProtocol], new: BoundedProtocol | None, reason: str) -> None:
        victim, lowest = new, math.inf
        for each in among:
            if each is not new and each.waits and each.rank < lowest:
                victim, lowest = each, each.rank
                if lowest == 0:
                    break
        if victim is None:
            return
        self.discard(victim)
        victim.transport.abort()
        self._closed += 1
        now = time.monotonic()
        if now - self._logged >= _LOGGED_EVERY_S:  # a flood must not fill the log
            _log.warning("connections closed to make room: %d; %s", self._closed, reason)
            self._closed, self._logged = 0, now


class BoundedProtocol(H11Protocol):
    """One connection. The client has so long for each thing it owes: a head, the rest of a body, reading an answer.

    The body of a request that is being answered is timed where it is read (`service.load.deadlines`).
    """

    def __init__(self, *args: Any, connections: Connections, settings: ServiceSettings, **more: Any) -> None:
        super().__init__(*args, **more)
        self.conn = BoundedConnection(h11.SERVER, _LIMIT_HEAD_BYTES)
        self.address = ""
        self._among = connections
        self._head_s = settings.head_timeout_s
        self._body_s = settings.body_timeout_s
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether the service waits for the client: for a head, for a body, or for an answer to be read."""
        return not self._answering or self.cycle.more_body or self.flow.write_paused or self.transport.is_closing()

    @property
    def rank(self) -> int:
        """0 without a request yet, 1 if the last one had no key, 2 if it had one."""
        if self.scope is None:
            return 0
        caller: Any = self.scope.get("auth")
        return 2 if caller and caller.name else 1

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        self._begin()
        self._among.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._cancel()
        self._among.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. Only a complete head ends the wait for it: a byte now and then prolongs nothing."""
        answering = self._answering
        super().data_received(data)
        if self._answering and not answering:
            self._begin()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head, if it is not there already."""
        super().on_response_complete()
        self._begin()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._begin()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._begin()

    def shutdown(self) -> None:
        """Close, once what runs is answered; who has not read an answer in the grace period is not waited for."""
        super().shutdown()
        if self._answering and self.flow.write_paused:
            self.transport.abort()

    def _begin(self) -> None:
        self._cancel()
        self._among.renew(self)
        limit_s = self._limit_s()
        if limit_s is not None:
            self._deadline = self.loop.call_later(limit_s, self.transport.abort)

    def _limit_s(self) -> float | None:
        if self.flow.write_paused:
            return self._body_s
        if self._answering:
            return None
        # A refused upload may still be on its way; who is cut off would not read the refusal.
        return self._body_s if self.conn.their_state is h11.SEND_BODY else self._head_s

    def _cancel(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None


def fit_to_descriptors(wanted: int) -> int:
    """How many of `wanted` connections the process has file descriptors for, besides those that it needs itself.

    Raises the soft limit as far as needed and allowed.
    """
    if resource is None:
        return wanted
    needed = wanted + _RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    fitting = max(soft - _RESERVED_DESCRIPTORS, soft // 4)
    _log.warning(
        "%d connections instead of %d (CXR_SERVICE_CONNECTIONS): the process may open %d files (ulimit -n)",
        fitting,
        wanted,
        soft,
    )
    return fitting
