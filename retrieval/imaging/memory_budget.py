"""How much memory all images together may take while they are decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHECK_SECONDS = 0.1
"""How often those who wait look whether their result is still wanted."""


def never_cancelled() -> None:
    """For callers who wait for their result whatever happens."""


class MemoryBudget:
    """At most `limit_bytes` are held at once; further holders wait, first come first served. Safe from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._changed = threading.Condition()
        self._waiting: list[object] = []

    @contextmanager
    def hold(self, size: int, raise_if_cancelled: Callable[[], None] = never_cancelled) -> Iterator[None]:
        """Wait for `size` bytes and hold them; what is larger than the limit takes all of it.

        `raise_if_cancelled` is called now and then meanwhile; what it raises ends the wait.
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
