"""What of experiments outlives a request: the store, what runs now, and the second model's unseen answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from litestar import Request

from retrieval.errors import RetrievalError
from retrieval.imaging.dicom.pseudonyms import hash_uid, load_salt
from service.experiments.entities import Experiment, Exposure, FeedbackKind, ShownHit
from service.experiments.store import ExperimentStore

SHADOW = "cxr_shadow"
"""Key of a request's state: what is to be done unseen once its answer was sent."""

_CACHED_S = 1.0
_PRUNED_EVERY_S = 3600.0
# A search waits so long for a locked file, and then those of some seconds not at all.
_WAIT_S = 0.25
_PAUSE_S = 5.0
# Unseen answers that wait; a busy service leaves out further ones, and the images they hold.
_WAITING_SHADOWS = 8
_log = logging.getLogger("cxr.service.experiments")


class ExperimentRuntime:
    """Belongs to one service; safe from several threads. A store that fails fails no search."""

    def __init__(self, home: Path, *, exposure_days: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = ExperimentStore(home, wait_s=_WAIT_S, pause_s=_PAUSE_S)
        self._home = home
        self._days = exposure_days
        self._clock = clock
        self._salt: bytes | None = None
        self._lock = threading.Lock()
        self._known: tuple[float, Experiment | None] = (-_CACHED_S, None)
        self._pruned: float | None = None
        self._warned = -_PAUSE_S
        self._shadows = ThreadPoolExecutor(1, thread_name_prefix="cxr-shadow")
        self._waiting = 0

    def running(self) -> Experiment | None:
        """The experiment that runs, as it was at most a second ago; while that cannot be told, as it was last."""
        read_at, experiment = self._known
        if self._clock() - read_at < _CACHED_S:
            return experiment
        try:
            experiment = self.store.running()
        except RetrievalError as error:
            self._warn("whether an experiment runs cannot be told: %s", error)
        self._known = (self._clock(), experiment)
        return experiment

    def hash_session(self, session: str) -> str:
        """The HMAC of a session with the secret of the home: what is kept of it.

        Raises:
            SaltDamaged: the secret is not what was once written.
        """
        self._salt = self._salt or load_salt(self._home)
        return hash_uid(self._salt, f"session {session}")

    def expose(self, exposures: list[Exposure]) -> bool:
        """Write down searches; false if that failed, and then they take no feedback."""
        try:
            self.store.expose(exposures)
            self._prune()
        except RetrievalError as error:
            self._warn("searches are answered without an id: %s", error)
            return False
        return True

    def _warn(self, message: str, error: RetrievalError) -> None:
        """Log a failure of the store; of those of many searches, one in a while."""
        if self._clock() - self._warned >= _PAUSE_S:
            self._warned = self._clock()
            _log.warning(message, error)

    def _prune(self) -> None:
        with self._lock:
            now = self._clock()
            if self._pruned is not None and now - self._pruned < _PRUNED_EVERY_S:
                return
            self._pruned = now
        self.store.prune(self._days)

    def add_feedback(self, session: str | None, exposure: Exposure, hit: ShownHit, kind: FeedbackKind) -> None:
        """Keep one word of feedback; who names no session speaks for the one that searched.

        Raises:
            ExperimentsUnavailable: it could not be kept.
        """
        hashed = self.hash_session(session) if session else exposure.session
        self.store.add_feedback(exposure.search_id, hit, kind, hashed)

    async def work_unseen(self, request: Request[Any, Any, Any]) -> None:
        """Hook for after an answer was sent: begin what the request has left to be done unseen."""
        work = request.scope["state"].pop(SHADOW, None)
        if work is None:
            return
        with self._lock:
            if self._waiting >= _WAITING_SHADOWS:
                return
            self._waiting += 1
        self._shadows.submit(work).add_done_callback(self._ended)

    def _ended(self, work: Future[None]) -> None:
        with self._lock:
            self._waiting -= 1
        if not work.cancelled() and (error := work.exception()):
            _log.warning("an unseen answer was lost: %s", type(error).__name__)

    async def close(self) -> None:
        """Begin nothing more, let what runs end, and release the store."""
        await run_sync(partial(self._shadows.shutdown, wait=True, cancel_futures=True))
        self.store.close()
