"""The deadline of a search on a server: all requests of one search share it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class _Search:
    waited_s: float = 0.0


_search: ContextVar[_Search | None] = ContextVar("search", default=None)
_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)


@contextmanager
def one_search() -> Iterator[None]:
    """All requests to a server in this block are one search: together they wait `CXR_INDEX_SEARCH_TIMEOUT_S` at most.

    Only the time of the requests counts, not that of the model. A block within another belongs to the outer one.
    """
    if _search.get() is not None:
        yield
        return
    token = _search.set(_Search())
    try:
        yield
    finally:
        _search.reset(token)


@contextmanager
def one_request(search_timeout_s: float | None) -> Iterator[None]:
    """Within `one_search`, limit one request to what is left of `search_timeout_s`, its retries included; None: no limit.

    Raises:
        TimeoutError: nothing is left.
    """
    search = _search.get()
    if search is None or search_timeout_s is None:
        yield
        return
    left_s, started_at = search_timeout_s - search.waited_s, time.monotonic()
    if left_s <= 0:
        raise TimeoutError(f"the search has waited for {search_timeout_s:g} s")
    token = _ends_at.set(started_at + left_s)
    try:
        yield
    finally:
        _ends_at.reset(token)
        search.waited_s += time.monotonic() - started_at


def left_s() -> float | None:
    """Seconds until the present request must have ended; None if it belongs to no search."""
    ends_at = _ends_at.get()
    return None if ends_at is None else ends_at - time.monotonic()
