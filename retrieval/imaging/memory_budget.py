"""A limit on the memory for decoding, in total for all images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHECK_SECONDS = 0.1
"""Interval at which waiting threads check for cancellation."""


def never_cancelled() -> None:
    """For callers without cancellation."""


class MemoryBudget:
    """Limits reserved memory to `limit_bytes` in total; further callers wait, first come, first served. Safe in threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._changed = threading.Condition()
        self._waiting: list[object] = []

    @contextmanager
    def hold(self, size: int, raise_if_cancelled: Callable[[], None] = never_cancelled) -> Iterator[None]:
        """Wait for `size` bytes and hold them; a size above the limit holds all of it.

        `raise_if_cancelled` is called every 0.1 s while waiting; an exception that it raises ends the wait.
        """
        size = min(size, self.limit_bytes)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or self.held_bytes + size > self.limit_bytes:
                    self._changed.wait(CHECK_SECONDS)
                    raise_if_cancelled()
                self.held_bytes += size
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self.held_bytes -= size
                self._changed.notify_all()
