"""Reads a pipe with a time limit, on systems with and without `poll`."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
from typing import Protocol

_BLOCK_BYTES = 1024 * 1024
_BLOCKS = 4


class PipeReader(Protocol):
    """Reads one pipe; only one thread may use it at a time."""

    def read_into(self, view: memoryview, wait_s: float) -> int | None:
        """Read available bytes into `view`. Returns their number, 0 at the end of the pipe, or None after `wait_s`."""

    def close(self) -> None:
        """Stop reading. Call it after the process at the other end has ended."""


class ThreadedReader:
    """Reads in its own thread, for Windows, which cannot wait for a pipe with a time limit."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._blocks: queue.Queue[bytes] = queue.Queue(_BLOCKS)
        self._rest = memoryview(b"")
        self._at_end = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def read_into(self, view: memoryview, wait_s: float) -> int | None:
        """As in `PipeReader`."""
        if self._at_end:
            return 0
        if not self._rest:
            try:
                self._rest = memoryview(self._blocks.get(timeout=wait_s))
            except queue.Empty:
                return None
            self._at_end = not self._rest
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        """As in `PipeReader`."""
        while self._thread.is_alive():  # the thread may wait for space in the queue
            with contextlib.suppress(queue.Empty):
                self._blocks.get(timeout=0.05)

    def _read(self) -> None:
        block = b"more"
        while block:
            try:
                block = os.read(self._descriptor, _BLOCK_BYTES)
            except OSError:
                block = b""
            self._blocks.put(block)


if sys.platform == "win32":

    def open_reader(descriptor: int) -> PipeReader:
        """A reader for the pipe `descriptor`."""
        return ThreadedReader(descriptor)

else:

    class PollingReader:
        """Waits with `poll` and reads directly into `view`."""

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)

        def read_into(self, view: memoryview, wait_s: float) -> int | None:
            """As in `PipeReader`."""
            if not self._poll.poll(wait_s * 1000):
                return None
            return os.readv(self._descriptor, [view])

        def close(self) -> None:
            """Do nothing: there is no thread to stop."""

    def open_reader(descriptor: int) -> PipeReader:
        """A reader for the pipe `descriptor`."""
        return PollingReader(descriptor)
