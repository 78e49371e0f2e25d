"""Ctrl-C during an ingest: the first ends it after the current batch, the second at once."""

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


class GracefulStop:
    """Ends a run between two batches after Ctrl-C: the run learns of it when it reports its progress."""

    def __init__(self) -> None:
        self.is_requested = False

    def wrap(self, progress: StageProgress) -> StageProgress:
        """`progress`, which raises KeyboardInterrupt once Ctrl-C was pressed."""
        return _StoppableProgress(progress, self)

    @contextmanager
    def handling_ctrl_c(self) -> Iterator[None]:
        """Handle Ctrl-C within the context, unless the process ignores it, as one in the background does.

        Raises:
            typer.Exit: the run was interrupted; a message says so.
        """
        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            with _signal_handler(self._handle) if is_default else nullcontext():
                yield
        except KeyboardInterrupt:
            say("stopped; run the same command again to continue")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    @contextmanager
    def raising_on_ctrl_c(self) -> Iterator[None]:
        """Let Ctrl-C raise KeyboardInterrupt within the context, as a question on the terminal needs it."""
        is_ours = signal.getsignal(signal.SIGINT) == self._handle
        with _signal_handler(signal.default_int_handler) if is_ours else nullcontext():
            yield

    def _handle(self, _: int, __: FrameType | None) -> None:
        if self.is_requested:
            # A thread that encodes cannot be stopped otherwise. As after kill -9, the same command continues. The
            # decoding processes end with this one.
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR.encode())
            os._exit(EXIT_INTERRUPTED)
        self.is_requested = True
        # Not `say`: the signal may have interrupted it.
        os.write(2, b"\nstopping after this batch; press Ctrl-C again to stop at once\n")


class _StoppableProgress:
    def __init__(self, progress: StageProgress, stop: GracefulStop) -> None:
        self._progress = progress
        self._stop = stop

    def __call__(self, done: int, total: int) -> None:
        self._progress(done, total)
        self._raise_if_requested()

    def stage(self, title: str, unit: str = "") -> None:
        self._raise_if_requested()
        self._progress.stage(title, unit)

    def _raise_if_requested(self) -> None:
        if self._stop.is_requested:
            raise KeyboardInterrupt


@contextmanager
def _signal_handler(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
