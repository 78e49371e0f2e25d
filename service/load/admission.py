"""How many requests run at once and how many may wait for their turn; who comes beyond that is sent away at once."""

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

# Weight of the newest call in the running mean of what a call takes, from which Retry-After is told.
_NEWEST = 0.2
_RETRY_AFTER_MAX_S = 60


class Admission:
    """Runs blocking calls in `limit` threads; at most `queue` further ones wait, first come first served.

    A place is taken until the call has ended, also if nobody waits for its result any more: what limits the service is
    the work, not the connections. Belongs to one event loop.
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
        """Refuse at once when a request could neither run nor wait.

        Raises:
            Overloaded: saying in `Retry-After` when there should be room again.
        """
        if self._turns.locked() and self.waiting >= self.queue:
            raise Overloaded(
                f"{self.running} requests run and {self.waiting} wait, which is all the service admits; try again later",
                headers={"Retry-After": str(self.retry_after_s())},
            )

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, in which as many calls should end as run and wait now."""
        expected = self._mean_s * (self.running + self.waiting) / self.limit
        return min(max(math.ceil(expected), 1), _RETRY_AFTER_MAX_S)

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, run in a thread when its turn comes. Cancelled before that, it is never run.

        Raises:
            Overloaded: there is no room.
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

        def ended() -> None:
            self.running -= 1
            self._mean_s += _NEWEST * (time.perf_counter() - started - self._mean_s)
            self._turns.release()

        def tell(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended)

        # The context carries the request's id into the log lines of the thread.
        work = self._threads.submit(contextvars.copy_context().run, call)
        work.add_done_callback(tell)
        return work

    async def close(self, wait_s: float) -> None:
        """Start nothing more, and give calls that nobody waits for `wait_s` to end before the index is closed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + wait_s
        while self.running and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
