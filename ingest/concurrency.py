"""What the stages of the worker run on: one thread ahead, one thread behind, and a clock for each stage."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class StageClock:
    """Seconds spent in each stage, added up over all threads; stages that run side by side add up to more than the wall."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what happens inside towards `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            with self._lock:
                self._seconds[stage] += elapsed

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, the longest first."""
        with self._lock:
            return {
                stage: round(self._seconds[stage], 3)
                for stage in sorted(self._seconds, key=lambda s: -self._seconds[s])
            }


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def read_ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """`items` in order, made by a thread of their own that is never more than `depth` items ahead of who takes them.

    An error in making them is raised where they are taken. Closing the generator ends the thread.
    """
    ready: SimpleQueue[T | _End] = SimpleQueue()
    room = threading.Semaphore(depth)
    stopped = threading.Event()

    def fill() -> None:
        try:
            for item in items:
                room.acquire()
                if stopped.is_set():
                    return
                ready.put(item)
            ready.put(_End(None))
        except BaseException as error:
            ready.put(_End(error))

    thread = threading.Thread(target=fill, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
            room.release()
        if item.error:
            raise item.error
    finally:
        stopped.set()
        room.release()
        thread.join()


class WriteBehind(Generic[T]):
    """Hands items, in order, to `write` in a thread of its own; never more than `depth` wait.

    An error in writing is raised by the next `put`, or by the end of the `with` block; nothing is written after it.
    """

    def __init__(self, write: Callable[[T], None], depth: int) -> None:
        self._write = write
        self._depth = depth
        self._pending: deque[Future[None]] = deque()
        self._failed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")

    def put(self, item: T) -> None:
        """Queue an item; waits while the queue is full."""
        while len(self._pending) >= self._depth or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._write_unless_failed, item))

    def _write_unless_failed(self, item: T) -> None:
        if self._failed:
            return
        try:
            self._write(item)
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> WriteBehind[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._pending:
                future.result()


def count_readers() -> int:
    """How many threads read and decode: one per core that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


@contextmanager
def cancelled_on_error(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Whoever interrupts a run does not wait for what is read ahead."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
