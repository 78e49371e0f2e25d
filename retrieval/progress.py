"""How long work reports its progress to whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of long work."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` units are done; a total of 0 is not known yet."""
