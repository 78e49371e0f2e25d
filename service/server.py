"""uvicorn with limits for its connections, told to drain first when it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
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
# The process ends itself this long before its grace period is over, or a quarter of a shorter one, and the kernel ends it
# half as long before: on a busy machine threads wait for a core, and giving memory back takes time.
_LAST_S = 0.5
_log = logging.getLogger("cxr.service")


class DrainingServer(uvicorn.Server):
    """Goes on listening while it drains, so that those who ask meanwhile are told so. A second signal stops it at once."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings, drain: Drain) -> None:
        self.connections = Connections(fit_to_descriptors(settings.connections), settings.connections_per_address)
        protocol = partial(BoundedProtocol, connections=self.connections, settings=settings)
        super().__init__(
            uvicorn.Config(
                cast(Any, app),
                http=cast(type[asyncio.Protocol], protocol),
                backlog=ACCEPTED_AT_ONCE,
                # Addresses hold queries, so they are not logged.
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
            )
        )
        self._drain = drain
        self._told = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # uvicorn's one number is for both: how many wait, how many are accepted at once
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or stop at once if that has begun already."""
        if self._drain.draining:
            super().handle_exit(sig, frame)
            self._drain.hurry()
        self._drain.begin()
        left_s = self._drain.left_s
        last_s = min(_LAST_S, left_s / 4)
        end = threading.Timer(left_s - last_s, _end_process)
        end.daemon = True
        end.start()
        if hasattr(signal, "setitimer"):  # should the interpreter be unable to: the kernel ends the process by SIGALRM
            signal.setitimer(signal.ITIMER_REAL, max(left_s - last_s / 2, 0.1))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close: half of the time that is left is for connections, whose requests have been drained before."""
        self.config.timeout_graceful_shutdown = min(CLOSING_S, self._drain.left_s / 2)  # type: ignore[assignment]
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times a second whether to stop."""
        if self._drain.draining and not self._told:
            self._told = True
            _log.info("stopping: %d requests left to finish", self._drain.active)
        if self._drain.advance():
            self.should_exit = True
        return await super().on_tick(counter)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Make room where accepting failed for want of a descriptor: asyncio would log each try with its traceback."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _NO_RESOURCES and "accept" in context.get("message", ""):
            self.connections.shrink()
        else:
            loop.default_exception_handler(context)


def _end_process() -> None:
    """The grace period is over: end, whatever still runs. It can only be a call that nobody waits for."""
    _log.warning("stopping: ended without closing, since the grace period was over (CXR_SERVICE_SHUTDOWN_GRACE_S)")
    os._exit(0)
