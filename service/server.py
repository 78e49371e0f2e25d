"""uvicorn with limits for connections, and with draining before it stops."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from types import FrameType
from typing import Any, cast

import uvicorn
from litestar.types import ASGIApp

from service.access.listener import BACKLOG
from service.load.connections import ACCEPTED_AT_ONCE, BoundedProtocol, Connections, fit_to_descriptors
from service.load.drain import CLOSING_S, Drain
from service.settings import ServiceSettings

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# The process ends itself this long before the grace period is over (at most a quarter of the period). If it cannot, the
# kernel ends it after half of that time: on a busy machine, threads wait for a core and freeing memory takes time.
_EXIT_MARGIN_S = 0.5
_log = logging.getLogger("cxr.service")


class DrainingServer(uvicorn.Server):
    """Keeps listening while it drains, so that new requests get 503 `draining`. A second signal stops it at once."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, drain: Drain) -> None:
        self.connections = Connections(fit_to_descriptors(settings.connections), settings.connections_per_address)
        protocol = partial(BoundedProtocol, connections=self.connections, settings=settings)
        super().__init__(
            uvicorn.Config(
                cast(Any, app),
                http=cast(type[asyncio.Protocol], protocol),
                backlog=ACCEPTED_AT_ONCE,
                # URLs contain queries, so they are not logged.
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
            )
        )
        self._drain = drain
        self._logged_draining = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # uvicorn uses one number for the backlog and for accepts per turn
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start draining, or stop at once if it is draining already."""
        if self._drain.draining:
            super().handle_exit(sig, frame)
            self._drain.cut_off_requests()
        self._drain.begin()
        left_s = self._drain.left_s
        margin_s = min(_EXIT_MARGIN_S, left_s / 4)
        end = threading.Timer(left_s - margin_s, _end_process)
        end.daemon = True
        end.start()
        if sys.platform != "win32":  # if the interpreter hangs, the kernel ends the process by SIGALRM
            signal.setitimer(signal.ITIMER_REAL, max(left_s - margin_s / 2, 0.1))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close connections, whose requests were drained before, in half of the time that is left."""
        self.config.timeout_graceful_shutdown = min(CLOSING_S, self._drain.left_s / 2)  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn, ten times a second, whether to stop."""
        if self._drain.draining and not self._logged_draining:
            self._logged_draining = True
            _log.info("stopping: waiting for %d requests", self._drain.active)
        if self._drain.update_deadlines():
            self.should_exit = True
        return await super().on_tick(counter)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Close connections if accepting failed for lack of file descriptors; asyncio would log a traceback for each try."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_RESOURCES and "accept" in context.get("message", ""):
            self.connections.shrink()
        else:
            loop.default_exception_handler(context)


def _end_process() -> None:
    """End the process at the end of its grace period. Only calls of cancelled requests still run."""
    _log.warning("stopping: the grace period is over (CXR_SERVICE_SHUTDOWN_GRACE_S); ended without closing")
    os._exit(0)
