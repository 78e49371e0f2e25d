"""Opens the sqlite files of a home: private, with a write-ahead log, shared by threads and processes."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from retrieval.file_permissions import make_private_folder

_BUSY_POLL_S = 0.05
_OWNER_ONLY = 0o600


class UnknownFormat(Exception):
    """The file was written by another version of this program."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"it has format {found}, this version reads format {known}")


class Cause(Enum):
    """Cause of an sqlite error, as far as it decides what the user can do."""

    LOCKED = "locked"
    DISK_FULL = "disk full"
    NO_ACCESS = "no access"
    DAMAGED = "damaged"


def open_database(
    path: Path | None,
    *,
    schema: str,
    version: int,
    wait_s: float,
    prepare: Callable[[sqlite3.Connection], None] | None = None,
) -> sqlite3.Connection:
    """A connection that reads and writes; several threads may use it in turn.

    The file and its folder are created if they are missing, readable by their owner only. Without a `path` the database
    stays in memory. `schema` must not change tables that are there. `prepare` runs on the connection before it is
    returned. A locked file is waited for up to `wait_s`, here and in later statements.

    Raises:
        UnknownFormat: the file was written by another version; it is left unchanged.
        sqlite3.Error, OSError: the file cannot be opened or written. `cause_of` tells why.
    """
    if path:
        make_private_folder(path.parent)
    # The file is not created here: closing a descriptor of it would drop the locks that sqlite holds.
    new_file = path if path and not path.exists() else None

    def set_up(database: sqlite3.Connection) -> None:
        if new_file:  # sqlite has just created it, readable by others
            new_file.chmod(_OWNER_ONLY)
        database.execute("PRAGMA journal_mode=WAL")
        _require_format(database, version)
        database.executescript(schema)
        database.execute(f"PRAGMA user_version={version}")
        if prepare:
            prepare(database)

    return _connect(str(path) if path else ":memory:", set_up, wait_s)


def open_readonly(path: Path, *, version: int | None = None, wait_s: float = 0.0) -> sqlite3.Connection:
    """A connection that only reads, also from a disk that nobody can write to.

    Raises:
        UnknownFormat: the file has another format than `version`; without one, any format is read.
        sqlite3.Error: the file is missing, locked for longer than `wait_s`, or damaged.
    """
    # Without write access sqlite cannot create a missing write-ahead log. It needs none, since nobody writes.
    has_log = path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro" if has_log or os.access(path.parent, os.W_OK) else "immutable=1"

    def set_up(database: sqlite3.Connection) -> None:
        if version is not None:
            _require_format(database, version)

    return _connect(f"{path.absolute().as_uri()}?{mode}", set_up, wait_s)


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction that commits when the block ends, and rolls back when it raises."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk ends it early
            database.execute("ROLLBACK")
        raise


def cause_of(error: sqlite3.Error) -> Cause:
    """Cause of `error`, by its result code (https://sqlite.org/rescode.html)."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the bits above hold the extended code
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Cause.LOCKED
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return Cause.DISK_FULL
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return Cause.NO_ACCESS
        case _:
            return Cause.DAMAGED


def _connect(address: str, set_up: Callable[[sqlite3.Connection], None], wait_s: float) -> sqlite3.Connection:
    deadline = time.monotonic() + wait_s
    while True:
        database = sqlite3.connect(
            address, uri=address.startswith("file:"), timeout=wait_s, check_same_thread=False, isolation_level=None
        )
        try:
            set_up(database)
            return database
        except sqlite3.Error as error:
            database.close()
            # When several processes create the file at once, sqlite may refuse one immediately, without waiting.
            if cause_of(error) is not Cause.LOCKED or time.monotonic() >= deadline:
                raise
            time.sleep(_BUSY_POLL_S)
        except BaseException:
            database.close()
            raise


def _require_format(database: sqlite3.Connection, known: int) -> None:
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, known):
        raise UnknownFormat(found, known)
