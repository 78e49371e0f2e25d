"""Threads of an ingest or a copy: one reads ahead, one writes in the background, pools decode or send pages."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def read_ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """`items` in order, produced by a separate thread that is at most `depth` items ahead of the consumer.

    The consumer gets the errors of that thread. Closing the generator ends the thread.
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
    """Passes items, in order, to `write` in a separate thread; at most `depth` items wait.

    An error of `write` is raised by the next `put` or at the end of the `with` block. Nothing is written after an error.
    """

    def __init__(self, write: Callable[[T], None], depth: int) -> None:
        self._write = write
        self._depth = depth
        self._pending: deque[Future[None]] = deque()
        self._failed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-behind")

    def put(self, item: T) -> None:
        """Add an item to the queue; blocks while the queue is full."""
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


def map_in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    """`work(item)` for each of `items`, in their order, by several `threads`; a single one is that of the caller.

    Items are taken in the thread of the caller, at most `threads` ahead. An error of `work` is raised in the place of its
    result; items after it may have been worked on. Closing the generator waits for the items that are being worked on.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="map") as pool, cancelled_on_error(pool):
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def count_readers() -> int:
    """The default number of threads that read and decode: one per core available to this process, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


@contextmanager
def cancelled_on_error(pool: ThreadPoolExecutor) -> Iterator[None]:
    """Cancel the waiting tasks of `pool` on an error, so that an interrupted run ends at once."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
