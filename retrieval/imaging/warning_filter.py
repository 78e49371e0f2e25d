"""The decoders' warnings, silenced for all threads at once."""

from __future__ import annotations

import threading
import warnings


class DecoderWarningFilter:
    """While any thread is inside, warnings that Pillow and pydicom raise are dropped; what matters of them is an error here.

    `warnings.catch_warnings` alone changes the filters of the whole process, and two threads that enter and leave it in
    turn undo each other's work. Here the first to enter changes them and the last to leave puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters: warnings.catch_warnings[None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b|pydicom\b|retrieval\.imaging\b")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._filters is not None:
                self._filters.__exit__(None, None, None)
                self._filters = None


ignore_decoder_warnings = DecoderWarningFilter()
