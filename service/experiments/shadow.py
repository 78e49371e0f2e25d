"""Shadow searches: the second model runs after the response was sent; only the comparison of both results is stored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request

from retrieval.search.hits import SearchResult
from service.experiments.entities import Shadow, ShownResult
from service.experiments.interleaving import image_of
from service.experiments.store import ExperimentStore

_STATE_KEY = "cxr_shadow"
# Shadow searches that run or wait. A busy service skips further ones, because each keeps the query's image in memory.
_LIMIT = 8
_log = logging.getLogger("cxr.service.experiments")


@dataclass(frozen=True, slots=True)
class ShadowSearch:
    """The second model's search for results that were `shown`."""

    store: ExperimentStore
    shown: list[ShownResult]
    search: Callable[[], list[SearchResult]]

    def run(self) -> None:
        """Search, compare and store the comparison; an error of the search is stored instead.

        Raises:
            ExperimentsUnavailable: the store cannot be written.
        """
        try:
            hidden: list[SearchResult] | None = self.search()
            error = None
        except Exception as failure:  # no client waits for this answer, whatever fails
            hidden, error = None, getattr(failure, "code", type(failure).__name__)
        for number, result in enumerate(self.shown):
            assert result.search_id
            if hidden is None:
                self.store.add_shadow(Shadow(result.search_id, len(result.hits), error=error))
            else:
                self.store.add_shadow(compare(result.search_id, result, hidden[number]))


class ShadowQueue:
    """Runs shadow searches one at a time, each after the answer to its request was sent."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="cxr-shadow")
        self._lock = threading.Lock()
        self._unfinished = 0

    def defer(self, shadow: ShadowSearch, state: dict[str, Any]) -> None:
        """Keep `shadow` in the `state` of its request until the answer was sent."""
        state[_STATE_KEY] = shadow

    async def start_deferred(self, request: Request[Any, Any, Any]) -> None:
        """Litestar's hook after an answer was sent: start the shadow search that the request deferred."""
        shadow = request.scope["state"].pop(_STATE_KEY, None)
        if shadow is None:
            return
        with self._lock:
            if self._unfinished >= _LIMIT:
                return
            self._unfinished += 1
        self._executor.submit(shadow.run).add_done_callback(self._finish)

    def _finish(self, run: Future[None]) -> None:
        with self._lock:
            self._unfinished -= 1
        if not run.cancelled() and (error := run.exception()):
            _log.warning("shadow search lost: %s", type(error).__name__)

    async def close(self) -> None:
        """Cancel waiting shadow searches and wait for the running one."""
        await run_sync(partial(self._executor.shutdown, wait=True, cancel_futures=True))


def compare(search_id: str, shown: SearchResult, hidden: SearchResult) -> Shadow:
    """The share of hits that both results have, and how long each took."""
    k = max(len(shown.hits), len(hidden.hits))
    common = {image_of(hit) for hit in shown.hits} & {image_of(hit) for hit in hidden.hits}
    return Shadow(
        search_id=search_id,
        k=k,
        overlap=len(common) / k if k else 1.0,
        ms_a=sum(shown.timings_ms.values()),
        ms_b=sum(hidden.timings_ms.values()),
    )
