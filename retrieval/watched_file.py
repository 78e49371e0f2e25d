"""Small files that others may replace at any time: looked at whenever they are needed, read when they have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_SETTLED_NS = 2_000_000_000


class WatchedFile(Generic[T]):
    """What a file says now. Safe from several threads."""

    def __init__(self, path: Path, load: Callable[[], T | None]) -> None:
        """Watch `path`, which `load` reads; None where there is none. What `load` raises is not kept."""
        self._path = str(path)
        self._load = load
        self._known: tuple[tuple[int, int, int], T | None] | None = None

    def read(self) -> T | None:
        """What the file says; None if there is none. It is the same object until the file is another one.

        Raises:
            OSError: the file cannot be looked at; and whatever `load` raises.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return None
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._known
        if known and known[0] == stamp:
            return known[1]
        content = self._load()
        # A file that is still young may be replaced by one with the same stamp: clocks of file systems are coarse.
        if abs(time.time_ns() - status.st_mtime_ns) > _SETTLED_NS:
            self._known = (stamp, content)
        return content
