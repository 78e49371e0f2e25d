"""One request's way to the engine: its turn, its time, and whether its client still waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import chain
from typing import Any, ParamSpec, Protocol, TypeVar

from litestar import Request
from litestar.types import Receive

from service.load.admission import Admission
from service.refusals import ClientGone, QueueTimeout, RequestTimeout

P = ParamSpec("P")
T = TypeVar("T")


class Timed(Protocol):
    """A result that knows how long its stages took."""

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds by stage."""


class SearchPermits:
    """Runs the blocking calls of one request, and notes in `stages_ms` how long they waited.

    `deadline` is the moment of `time.monotonic` at which the request is given up, however many calls it makes.
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
    def of(cls, request: Request[Any, Any, Any], admission: Admission, timeout_s: float) -> SearchPermits:
        """The permits of `request`, whose body has been read already."""
        state = request.scope["state"]
        stages_ms = state.setdefault("stages_ms", {})
        deadline = state.setdefault("deadline", time.monotonic() + timeout_s)
        return cls(admission, request.receive, timeout_s=timeout_s, stages_ms=stages_ms, deadline=deadline)

    def require_wanted(self) -> None:
        """For calls that take long, now and then: nobody may wait for the result any more.

        Raises:
            ClientGone: nobody does.
        """
        if self._is_over:
            raise ClientGone("the request was given up")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`, run in a thread when its turn comes.

        Raises:
            Overloaded: there is no room to wait.
            QueueTimeout: its time was over before its turn came. RequestTimeout: while it ran; it goes on unseen, to its end
                or until it asks `require_wanted`.
            ClientGone: the client closed the connection; before its turn, `call` is never run.
        """
        asked = time.perf_counter()
        started = False

        def begin() -> T:
            nonlocal started
            started = True
            self._add("queue", (time.perf_counter() - asked) * 1000)
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
                f"the request waited {self._timeout_s:g} s for its turn in vain",
                headers={"Retry-After": str(self._admission.retry_after_s())},
            )
        finally:
            self._is_over = not work.done()
            for task in (work, gone):
                task.cancel()
                task.add_done_callback(_forget)
            # An error's traceback holds this frame, which would hold the error: an upload would stay until the next
            # collection of cycles.
            del task, work, gone

    def note(self, *results: Timed) -> None:
        """Add the stages of `results` to the answer's `Server-Timing`.

        Several results are of one batch, which was encoded once: each tells the time of that one run.
        """
        for stage in dict.fromkeys(chain.from_iterable(result.timings_ms for result in results)):
            times_ms = [result.timings_ms.get(stage, 0.0) for result in results]
            self._add(stage, max(times_ms) if stage == "encode" else sum(times_ms))

    def _add(self, stage: str, milliseconds: float) -> None:
        self._stages_ms[stage] = self._stages_ms.get(stage, 0.0) + milliseconds


def _forget(task: asyncio.Task[Any]) -> None:
    """Take a task's error, if it has one, so that asyncio does not report it as unseen. Nothing waits for the task."""
    if not task.cancelled():
        task.exception()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
