"""The part of experiments that outlives a request: the store, the running experiment, and waiting shadow searches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from archives.dicom.pseudonyms import hash_uid, load_salt
from retrieval.errors import RetrievalError
from service.experiments.entities import Experiment, Exposure, FeedbackKind, ShownHit
from service.experiments.shadow import ShadowQueue
from service.experiments.store import ExperimentStore

_CACHED_S = 1.0
_PRUNE_EVERY_S = 3600.0
# A search waits this long for a locked file. After that, searches skip the file for some seconds.
_WAIT_S = 0.25
_PAUSE_S = 5.0
_log = logging.getLogger("cxr.service.experiments")


class ExperimentRuntime:
    """Experiments of one service; safe from several threads. If the store fails, searches are still answered."""

    def __init__(self, home: Path, *, exposure_days: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = ExperimentStore(home, wait_s=_WAIT_S, pause_s=_PAUSE_S)
        self.shadows = ShadowQueue()
        self._home = home
        self._days = exposure_days
        self._clock = clock
        self._salt: bytes | None = None
        self._lock = threading.Lock()
        self._cached: tuple[float, Experiment | None] = (-_CACHED_S, None)
        self._pruned: float | None = None
        self._warned = -_PAUSE_S

    def running(self) -> Experiment | None:
        """The running experiment, at most a second old; the last known one while the store fails."""
        read_at, experiment = self._cached
        if self._clock() - read_at < _CACHED_S:
            return experiment
        try:
            experiment = self.store.running()
        except RetrievalError as error:
            self._warn("cannot read which experiment runs: %s", error)
        self._cached = (self._clock(), experiment)
        return experiment

    def hash_session(self, session: str) -> str:
        """HMAC of a session with the secret of the home. Only this is stored.

        Raises:
            SaltDamaged: the file of the secret was changed.
        """
        self._salt = self._salt or load_salt(self._home)
        return hash_uid(self._salt, f"session {session}")

    def add_exposures(self, exposures: list[Exposure]) -> bool:
        """Record exposures; false if that failed. Their searches then take no feedback."""
        try:
            self.store.add_exposures(exposures)
            self._prune()
        except RetrievalError as error:
            self._warn("searches get no search_id: %s", error)
            return False
        return True

    def add_feedback(self, session: str | None, exposure: Exposure, hit: ShownHit, kind: FeedbackKind) -> None:
        """Store feedback of `session`; without one, of the session that searched.

        Raises:
            ExperimentsUnavailable: the store cannot be written.
        """
        hashed = self.hash_session(session) if session else exposure.session
        self.store.add_feedback(exposure.search_id, hit, kind, hashed)

    async def close(self) -> None:
        """Finish the running shadow search, start no more, and release the store."""
        await self.shadows.close()
        self.store.close()

    def _warn(self, message: str, error: RetrievalError) -> None:
        """Log a failure of the store, but not for every search."""
        if self._clock() - self._warned >= _PAUSE_S:
            self._warned = self._clock()
            _log.warning(message, error)

    def _prune(self) -> None:
        with self._lock:
            now = self._clock()
            if self._pruned is not None and now - self._pruned < _PRUNE_EVERY_S:
                return
            self._pruned = now
        self.store.prune(self._days)
