"""Ctrl-C in an ingest: the first ends it after the batch in hand, the second at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

import typer

from cxr.console import say
from retrieval.progress import StageProgress

EXIT_INTERRUPTED = 130
_SHOW_CURSOR = "\x1b[?25h"


class Interruption:
    """Whether Ctrl-C was pressed, told to a run by way of its progress."""

    def __init__(self) -> None:
        self.is_asked = False

    def watching(self, progress: StageProgress) -> StageProgress:
        """`progress`, which raises KeyboardInterrupt after Ctrl-C was pressed."""
        return _InterruptibleProgress(progress, self)

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take Ctrl-C over from Python, where it is Python's: a command in the background ignores it.

        Raises:
            typer.Exit: the run was interrupted, which was said.
        """
        is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            with _handling(self._handle) if is_pythons else nullcontext():
                yield
        except KeyboardInterrupt:
            say("stopped; the same command goes on from here")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    @contextmanager
    def left_to_python(self) -> Iterator[None]:
        """Let Ctrl-C raise KeyboardInterrupt meanwhile, as a question on the terminal expects."""
        is_ours = signal.getsignal(signal.SIGINT) == self._handle
        with _handling(signal.default_int_handler) if is_ours else nullcontext():
            yield

    def _handle(self, _: int, __: FrameType | None) -> None:
        if self.is_asked:
            # As after kill -9, the same command goes on: a thread that encodes cannot be stopped in any other way. The
            # decoding processes end with this one.
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR.encode())
            os._exit(EXIT_INTERRUPTED)
        self.is_asked = True
        # Not by `say`, which may be what was interrupted.
        os.write(2, b"\nstopping after this batch; press Ctrl-C again to stop at once\n")


class _InterruptibleProgress:
    def __init__(self, progress: StageProgress, interruption: Interruption) -> None:
        self._progress = progress
        self._interruption = interruption

    def __call__(self, done: int, total: int) -> None:
        self._progress(done, total)
        self._raise_if_interrupted()

    def stage(self, title: str, unit: str = "") -> None:
        self._raise_if_interrupted()
        self._progress.stage(title, unit)

    def _raise_if_interrupted(self) -> None:
        if self._interruption.is_asked:
            raise KeyboardInterrupt


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
