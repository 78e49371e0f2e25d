"""Runs the engine calls of one request: queue, timeout, and detection of a disconnected client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import chain
from typing import Any, ParamSpec, Protocol, TypeVar

from litestar import Request
from litestar.types import Receive

from retrieval.index.deadline import one_search
from service.load.admission import Admission
from service.refusals import ClientGone, QueueTimeout, RequestTimeout

P = ParamSpec("P")
T = TypeVar("T")


class Timed(Protocol):
    """A result with the times of its stages."""

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage."""


class Permits:
    """Runs the blocking calls of one request, and adds their waiting time to `stages_ms`.

    `deadline` is the time (`time.monotonic`) at which the request is cancelled, however many calls it makes.
    """

    def __init__(
        self,
        admission: Admission,
        receive: Receive,
        *,
        timeout_s: float,
        stages_ms: dict[str, float],
        deadline: float | None = None,
    ) -> None:
        self._admission = admission
        self._receive = receive
        self._timeout_s = timeout_s
        self._stages_ms = stages_ms
        self._deadline = time.monotonic() + timeout_s if deadline is None else deadline
        self._is_over = False

    @classmethod
    def of(cls, request: Request[Any, Any, Any], admission: Admission, timeout_s: float) -> Permits:
        """The permits of `request`. Its body must have been read before."""
        state = request.scope["state"]
        stages_ms = state.setdefault("stages_ms", {})
        deadline = state.setdefault("deadline", time.monotonic() + timeout_s)
        return cls(admission, request.receive, timeout_s=timeout_s, stages_ms=stages_ms, deadline=deadline)

    def raise_if_cancelled(self) -> None:
        """Stop a call whose request has ended; long calls check this from time to time.

        Raises:
            ClientGone: the request has ended.
        """
        if self._is_over:
            raise ClientGone("the request was cancelled")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`, run in a thread when a place is free.

        Raises:
            Overloaded: the queue is full.
            QueueTimeout: the request timed out in the queue; `call` never runs.
            RequestTimeout: the request timed out while `call` ran; the thread goes on until `call` ends or checks
                `raise_if_cancelled`.
            ClientGone: the client closed the connection; a call in the queue never runs.
        """
        queued_at = time.perf_counter()
        started = False

        def begin() -> T:
            nonlocal started
            started = True
            self._add("queue", (time.perf_counter() - queued_at) * 1000)
            with one_search():
                return call(*args, **kwargs)

        work = asyncio.create_task(self._admission.run(begin))
        gone = asyncio.create_task(_wait_for_disconnect(self._receive))
        try:
            left_s = max(0.0, self._deadline - time.monotonic())
            await asyncio.wait({work, gone}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientGone("the client closed the connection")
            if started:
                raise RequestTimeout(f"the request took longer than {self._timeout_s:g} s")
            raise QueueTimeout(
                f"the request timed out after {self._timeout_s:g} s in the queue",
                headers={"Retry-After": str(self._admission.retry_after_s())},
            )
        finally:
            self._is_over = not work.done()
            for task in (work, gone):
                task.cancel()
                task.add_done_callback(_fetch_error)
            # Break the cycle of an error, its traceback and this frame: it would keep an upload in memory until the next
            # garbage collection.
            del task, work, gone

    def add_timings(self, *results: Timed) -> None:
        """Add the stages of `results` to the `Server-Timing` of the response.

        Results of one batch all hold the time of its one encoding run, so that counts once.
        """
        for stage in dict.fromkeys(chain.from_iterable(result.timings_ms for result in results)):
            times_ms = [result.timings_ms.get(stage, 0.0) for result in results]
            self._add(stage, max(times_ms) if stage == "encode" else sum(times_ms))

    def _add(self, stage: str, milliseconds: float) -> None:
        self._stages_ms[stage] = self._stages_ms.get(stage, 0.0) + milliseconds


def _fetch_error(task: asyncio.Task[Any]) -> None:
    """Fetch the error of a task that is not awaited, so that asyncio does not report it."""
    if not task.cancelled():
        task.exception()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
