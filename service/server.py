"""uvicorn, told to drain first when it is told to stop."""

from __future__ import annotations

import logging
from types import FrameType

import uvicorn

from service.drain import Drain

_log = logging.getLogger("cxr.service")


class DrainingServer(uvicorn.Server):
    """Goes on listening while it drains, so that those who ask meanwhile are told so. A second signal stops it at once."""

    def __init__(self, config: uvicorn.Config, drain: Drain) -> None:
        super().__init__(config)
        self._drain = drain
        self._told = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or stop at once if that has begun already."""
        if self._drain.draining:
            super().handle_exit(sig, frame)
        self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn asks ten times a second whether to stop."""
        if self._drain.draining and not self._told:
            self._told = True
            _log.info("stopping: %d requests left to finish", self._drain.active)
        if self._drain.advance():
            self.should_exit = True
        return await super().on_tick(counter)
