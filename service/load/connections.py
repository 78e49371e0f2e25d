"""Limits for connections: their number, and timeouts for request headers and for reading responses.

uvicorn has none of these limits: an idle connection would keep its file descriptor forever. granian 2.8.9 was measured
instead (benchmarks/results, "Idle connections"): idle connections block others until its header timeout, it limits neither
slow readers nor one address, and stopping waits for both without a limit.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.access.rate_limit import network_of
from service.load.chunk_limit import BoundedConnection
from service.settings import ServiceSettings

if sys.platform != "win32":
    import resource

# For the index, thumbnails, the audit log, decoder processes, and connections that are being closed.
_RESERVED_DESCRIPTORS = 256
_LOGGED_EVERY_S = 60.0
_LIMIT_HEAD_BYTES = 64 * 1024
# asyncio retries a failed accept after one second.
_ACCEPT_PAUSE_S = 0.5
ACCEPTED_AT_ONCE = 16
"""Connections accepted in one turn of the event loop: a flood must not use up all file descriptors in one turn."""
_log = logging.getLogger("cxr.service")


class Connections:
    """The open connections of one event loop: at most `limit` in all, and `per_address` from one address.

    One more is accepted and another one closed, chosen among those that wait for their client: first those without a
    request, then those without a key, then the longest waiting. A connection with a running request is never closed; if
    all have one, the new one is closed.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self.limit = limit
        self.per_address = per_address
        # Ordered by the time of the last change of state, the oldest first.
        self._open: dict[BoundedProtocol, None] = {}
        self._of_address: defaultdict[str, dict[BoundedProtocol, None]] = defaultdict(dict)
        self._closed = 0
        self._logged = -_LOGGED_EVERY_S
        self._shrunk = -_ACCEPT_PAUSE_S

    def __len__(self) -> int:
        return len(self._open)

    def add(self, new: BoundedProtocol) -> None:
        """Count a connection, and close one if there are too many."""
        same = self._of_address[new.address]
        self._open[new] = same[new] = None
        if len(same) > self.per_address:
            self._close_one(same, new, f"one address has {self.per_address} open (CXR_SERVICE_CONNECTIONS_PER_ADDRESS)")
        elif len(self._open) > self.limit:
            self._close_one(self._open, new, f"{self.limit} are open (CXR_SERVICE_CONNECTIONS)")

    def touch(self, connection: BoundedProtocol) -> None:
        """Move a counted connection to the end of the order, because its state changed."""
        if connection in self._open:
            for held in (self._open, self._of_address[connection.address]):
                del held[connection]
                held[connection] = None

    def discard(self, connection: BoundedProtocol) -> None:
        """Stop counting a connection."""
        if connection in self._open:
            del self._open[connection], self._of_address[connection.address][connection]
            if not self._of_address[connection.address]:
                del self._of_address[connection.address]

    def shrink(self) -> None:
        """Lower the limit, because the process had no file descriptor left to accept a connection."""
        now = time.monotonic()
        if now - self._shrunk < _ACCEPT_PAUSE_S:  # all accepts of one turn fail together
            return
        self._shrunk = now
        self.limit = max(1, min(self.limit, len(self._open) - 2 * ACCEPTED_AT_ONCE))
        for _ in range(len(self._open) - self.limit):
            self._close_one(self._open, None, f"no file descriptor is left (ulimit -n); the limit is now {self.limit}")

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
    """One connection, with timeouts for what it waits for: request headers, the rest of a body, reading of a response.

    `service.load.body_deadline` has the timeout for the body of a request that is being handled.
    """

    def __init__(self, *args: Any, connections: Connections, settings: ServiceSettings, **more: Any) -> None:
        super().__init__(*args, **more)
        self.conn = BoundedConnection(h11.SERVER, _LIMIT_HEAD_BYTES)
        self.address = ""
        self._connections = connections
        self._head_s = settings.head_timeout_s
        self._body_s = settings.body_timeout_s
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether the service waits for the client: for request headers, a body, or the reading of a response."""
        return not self._answering or self.cycle.more_body or self.flow.write_paused or self.transport.is_closing()

    @property
    def rank(self) -> int:
        """0 if there was no request yet, 1 if the last one had no key, 2 if it had one. Low ranks are closed first."""
        if self.scope is None:
            return 0
        caller: Any = self.scope.get("auth")
        return 2 if caller and caller.name else 1

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request headers."""
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        self._restart_timeout()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting this connection."""
        self._cancel()
        self._connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read data. Only complete request headers end their timeout; single bytes do not extend it."""
        answering = self._answering
        super().data_received(data)
        if self._answering and not answering:
            self._restart_timeout()

    def on_response_complete(self) -> None:
        """Wait for the next request headers, if they have not arrived yet."""
        super().on_response_complete()
        self._restart_timeout()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._restart_timeout()

    def resume_writing(self) -> None:
        """Continue, since the client has read."""
        super().resume_writing()
        self._restart_timeout()

    def shutdown(self) -> None:
        """Close after the response to the running request; do not wait for a client that does not read it."""
        super().shutdown()
        if self._answering and self.flow.write_paused:
            self.transport.abort()

    def _restart_timeout(self) -> None:
        self._cancel()
        self._connections.touch(self)
        limit_s = self._limit_s()
        if limit_s is not None:
            self._deadline = self.loop.call_later(limit_s, self.transport.abort)

    def _limit_s(self) -> float | None:
        if self.flow.write_paused:
            return self._body_s
        if self._answering:
            return None
        # A refused upload may still be arriving; a client that is cut off would not read the refusal.
        return self._body_s if self.conn.their_state is h11.SEND_BODY else self._head_s

    def _cancel(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = None


def fit_to_descriptors(wanted: int) -> int:
    """The number of connections, at most `wanted`, that the process has file descriptors for.

    Raises the soft limit as far as needed and allowed.
    """
    needed = wanted + _RESERVED_DESCRIPTORS
    soft = _raise_descriptor_limit(needed)
    if soft is None or soft >= needed:
        return wanted
    fitting = max(soft - _RESERVED_DESCRIPTORS, soft // 4)
    _log.warning(
        "%d connections instead of %d (CXR_SERVICE_CONNECTIONS), because the process may open only %d files (ulimit -n)",
        fitting,
        wanted,
        soft,
    )
    return fitting


def _raise_descriptor_limit(needed: int) -> int | None:
    """How many descriptors the process may have, raised to `needed` as far as allowed; None without a limit."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if resource.RLIM_INFINITY != soft < needed:
            soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return None if soft == resource.RLIM_INFINITY else soft
    return None
