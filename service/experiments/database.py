"""The sqlite file of experiments: opened at first use, with short waits, and a pause after each failure."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.sqlite import Cause, UnknownFormat, cause_of, open_database, transaction
from service.experiments.experiment_errors import ExperimentsUnavailable

_FORMAT = 1
# `slot` is 1 while an experiment runs and null afterwards, so that only one can run.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS experiments (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, model_a TEXT NOT NULL, model_b TEXT NOT NULL, share REAL NOT NULL,
    salt BLOB NOT NULL, started_at REAL NOT NULL, stopped_at REAL, result TEXT, slot INTEGER UNIQUE
);
CREATE TABLE IF NOT EXISTS exposures (
    number INTEGER PRIMARY KEY AUTOINCREMENT, search_id TEXT NOT NULL UNIQUE, experiment TEXT, session TEXT NOT NULL,
    team TEXT, shown TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS by_experiment ON exposures (experiment);
CREATE INDEX IF NOT EXISTS by_time ON exposures (at);
CREATE TABLE IF NOT EXISTS feedback (
    search_id TEXT, dataset TEXT, image_id TEXT, kind TEXT, session TEXT, at REAL NOT NULL,
    PRIMARY KEY (search_id, dataset, image_id, kind, session)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shadows (
    search_id TEXT PRIMARY KEY, overlap REAL, k INTEGER, ms_a REAL, ms_b REAL, error TEXT
) WITHOUT ROWID;
"""


class Database:
    """One connection that threads use in turn.

    A call waits up to `wait_s` for a locked file, and as long for its turn. After a failure, calls fail at once for
    `pause_s`, so that of many searches that find the file locked only the first waits.
    """

    def __init__(self, path: Path, *, wait_s: float, pause_s: float) -> None:
        self.path = path
        self._wait_s = wait_s
        self._pause_s = pause_s
        self._turn = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        self._failed_at = -math.inf
        self._reason = ""

    @property
    def exists(self) -> bool:
        """Whether there is a file, or the file is open."""
        return self._opened is not None or self.path.exists()

    def close(self) -> None:
        """Release the file; the next call opens it again."""
        with self._turn:
            self._disconnect()

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, exclusively for the block.

        Raises:
            ExperimentsUnavailable: the file is locked, damaged or not writable, or another thread holds the connection.
        """
        self._require_no_pause()
        if not self._turn.acquire(timeout=self._wait_s):
            raise self._fail("no answer from its disk")
        try:
            self._require_no_pause()
            try:
                if self._opened is None:
                    self._opened = open_database(self.path, schema=_SCHEMA, version=_FORMAT, wait_s=self._wait_s)
                yield self._opened
            except UnknownFormat as error:
                raise self._fail(str(error)) from error
            except (sqlite3.Error, OSError) as error:
                locked = isinstance(error, sqlite3.Error) and cause_of(error) is Cause.LOCKED
                if not locked:  # open it again next time: the disk may be back, or the file replaced
                    self._disconnect()
                reason = "another program keeps it locked (a backup?)" if locked else str(error)
                raise self._fail(reason) from error
        finally:
            self._turn.release()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """As `use`, in one transaction that is on the disk when the block ends."""
        with self.use() as database:
            database.execute("PRAGMA synchronous=FULL")
            with transaction(database):
                yield database

    def _disconnect(self) -> None:
        opened, self._opened = self._opened, None
        if opened:
            opened.close()

    def _require_no_pause(self) -> None:
        if time.monotonic() - self._failed_at < self._pause_s:
            raise self._refuse()

    def _fail(self, reason: str) -> ExperimentsUnavailable:
        self._failed_at, self._reason = time.monotonic(), reason
        return self._refuse()

    def _refuse(self) -> ExperimentsUnavailable:
        retry_after_s = max(1, math.ceil(self._failed_at + self._pause_s - time.monotonic()))
        message = f"{self.path} cannot be used: {self._reason}"
        return ExperimentsUnavailable(message, headers={"Retry-After": str(retry_after_s)})
