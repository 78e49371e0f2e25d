"""Limits how many requests run and how many wait in the queue. Excess requests get 429 at once."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from service.refusals import Overloaded

T = TypeVar("T")

# Weight of the newest call in the moving average of call times, from which Retry-After is computed.
_NEWEST_WEIGHT = 0.2
_RETRY_AFTER_MAX_S = 60


class Admission:
    """Runs blocking calls in `limit` threads; at most `queue` more wait, first come, first served.

    A call keeps its place until it ends, even if its request has ended: the limit is for work, not for connections.
    Belongs to one event loop.
    """

    def __init__(self, name: str, *, limit: int, queue: int) -> None:
        self.name = name
        self.limit = limit
        self.queue = queue
        self.running = 0
        self.waiting = 0
        self._turns = asyncio.Semaphore(limit)
        self._threads = ThreadPoolExecutor(limit, thread_name_prefix=f"cxr-{name}")
        self._mean_s = 0.0

    def require_room(self) -> None:
        """Refuse a request that could neither run nor wait.

        Raises:
            Overloaded: the queue is full; `Retry-After` says when to try again.
        """
        if self._turns.locked() and self.waiting >= self.queue:
            raise Overloaded(
                f"the queue is full ({self.running} running, {self.waiting} waiting); try again later",
                headers={"Retry-After": str(self.retry_after_s())},
            )

    def retry_after_s(self) -> int:
        """Expected seconds until the present calls have ended: a whole number, 1 to 60."""
        expected = self._mean_s * (self.running + self.waiting) / self.limit
        return min(max(math.ceil(expected), 1), _RETRY_AFTER_MAX_S)

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, run in a thread when a place is free. If cancelled before that, it never runs.

        Raises:
            Overloaded: the queue is full.
        """
        self.require_room()
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        return await asyncio.wrap_future(self._start(call))

    def _start(self, call: Callable[[], T]) -> Future[T]:
        loop, started = asyncio.get_running_loop(), time.perf_counter()
        self.running += 1

        def release() -> None:
            self.running -= 1
            self._mean_s += _NEWEST_WEIGHT * (time.perf_counter() - started - self._mean_s)
            self._turns.release()

        def on_end(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(release)

        # The context carries the request id into the thread's log lines.
        work = self._threads.submit(contextvars.copy_context().run, call)
        work.add_done_callback(on_end)
        return work

    async def close(self, wait_s: float) -> None:
        """Start no more calls, and wait up to `wait_s` for running ones, so that the index can be closed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + wait_s
        while self.running and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
