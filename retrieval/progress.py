"""Interfaces through which long work reports its progress."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Receives the progress of long work."""

    def __call__(self, done: int, total: int) -> None:
        """`done` of `total` units are done; a total of 0 is not known yet."""


@runtime_checkable
class StageProgress(Progress, Protocol):
    """Receives the progress of long work that has several stages."""

    def stage(self, title: str, unit: str = "") -> None:
        """The stage `title` begins. The counts that follow are its own, in `unit`."""


class NoProgress:
    """A `StageProgress` that shows nothing."""

    def __call__(self, done: int, total: int) -> None:
        """See `Progress`."""

    def stage(self, title: str, unit: str = "") -> None:
        """See `StageProgress`."""


def stages_of(progress: Progress | None) -> StageProgress:
    """`progress` if it shows stages; else one that shows nothing."""
    return progress if isinstance(progress, StageProgress) else NoProgress()


def progress_of_part(progress: Progress, number: int, parts: int) -> Progress:
    """Progress of part `number` (from 0) of `parts` equal parts, reported as progress of the whole."""
    return lambda done, total: progress(number * total + done, parts * total)
