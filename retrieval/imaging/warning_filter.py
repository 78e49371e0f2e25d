"""A filter that drops the warnings of image decoders, safe in threads."""

from __future__ import annotations

import threading
import warnings


class DecoderWarningFilter:
    """Context manager: drops warnings of Pillow and pydicom while any thread is inside. Serious ones are errors here anyway.

    `warnings.catch_warnings` changes the filters of the whole process, so two threads that overlap would undo each other's
    change. Here the first thread to enter changes the filters, and the last one to leave restores them.
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
