"""Seconds spent in each stage of an ingest."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up the seconds of each stage over all threads. Stages run at the same time, so the sum exceeds the wall time."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block towards `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            with self._lock:
                self._seconds[stage] += elapsed

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, the longest stage first."""
        with self._lock:
            longest_first = sorted(self._seconds.items(), key=lambda entry: -entry[1])
        return {stage: round(seconds, 3) for stage, seconds in longest_first}
