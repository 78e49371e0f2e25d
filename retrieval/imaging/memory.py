"""How much memory all images together may take while they are decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """At most `limit_bytes` are held at once; further holders wait, first come first served. Safe from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._changed = threading.Condition()
        self._waiting: list[object] = []

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait for `size` bytes and hold them; what is larger than the limit takes all of it."""
        size = min(size, self.limit_bytes)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self.held_bytes + size <= self.limit_bytes)
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
