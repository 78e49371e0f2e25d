"""Small files that other processes may replace at any time; they are read again when they have changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_SETTLED_NS = 2_000_000_000


class WatchedFile(Generic[T]):
    """The current content of a file. Safe from several threads."""

    def __init__(self, path: Path, load: Callable[[], T | None]) -> None:
        """Watch `path`; `load` reads and parses it, or returns None if there is no file. Errors of `load` are not kept."""
        self._path = str(path)
        self._load = load
        self._known: tuple[tuple[int, int, int], T | None] | None = None

    def read(self) -> T | None:
        """The content of the file; None if there is no file. The same object until the file changes.

        Raises:
            OSError: the file's status cannot be read; and the errors of `load`.
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
        # A young file may be replaced by one with the same stamp, since clocks of file systems are coarse.
        if abs(time.time_ns() - status.st_mtime_ns) > _SETTLED_NS:
            self._known = (stamp, content)
        return content
