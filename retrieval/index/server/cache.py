"""A cache of server responses for one second, so that searches do not repeat requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

LIFETIME_S = 1.0
"""Seconds for which a response is used. A change by another process is noticed after at most this time."""


class AnswerCache:
    """Caches each response for `LIFETIME_S`. Threads that need the same response at the same time send one request."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure time with `clock`, in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[Hashable, tuple[float, Future[Any]]] = {}

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """The response for `key`, from `ask` unless it is cached. An error of `ask` is raised and not cached."""
        with self._lock:
            now = self._clock()
            known = self._answers.get(key)
            if known and (not known[1].done() or now - known[0] < LIFETIME_S):
                answer, is_ours = known[1], False
            else:
                answer, is_ours = Future[Any](), True
                self._answers[key] = (now, answer)
        if is_ours:
            try:
                answer.set_result(ask())
            except BaseException as error:
                self._forget(key, answer)
                answer.set_exception(error)
        result: T = answer.result()
        return result

    def clear(self) -> None:
        """Clear the cache, also of responses that are still awaited: the index was changed."""
        with self._lock:
            self._answers.clear()

    def _forget(self, key: Hashable, answer: Future[Any]) -> None:
        with self._lock:
            if key in self._answers and self._answers[key][1] is answer:
                del self._answers[key]
