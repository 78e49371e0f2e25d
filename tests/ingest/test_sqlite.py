"""The one opener of sqlite files."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ingest.sqlite import Cause, UnknownFormat, cause_of, open_database, open_readonly, transaction

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (n INTEGER)"


def opened(path: Path | None, *, wait_s: float = 0.0) -> sqlite3.Connection:
    return open_database(path, schema=SCHEMA, version=1, wait_s=wait_s)


def numbers(database: sqlite3.Connection) -> list[int]:
    return [n for (n,) in database.execute("SELECT n FROM numbers ORDER BY n")]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_new_file_its_folder_and_its_log_are_private_whatever_the_umask(tmp_path: Path) -> None:
    path, before = tmp_path / "folder" / "numbers.sqlite", os.umask(0)
    try:
        with closing(opened(path)) as database:
            database.execute("INSERT INTO numbers VALUES (1)")
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys((path.name, f"{path.name}-wal", f"{path.name}-shm"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_existing_file_keeps_its_permissions_and_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    with closing(opened(path)) as database:
        database.execute("INSERT INTO numbers VALUES (1)")
    path.chmod(0o640)
    with closing(opened(path)) as database:
        assert numbers(database) == [1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_without_a_path_the_database_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(opened(None)) as database:
        assert numbers(database) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_version_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA user_version=9")
    content = path.read_bytes()
    for open_it in (lambda: opened(path), lambda: open_readonly(path, version=1)):
        with pytest.raises(UnknownFormat, match="format 9, this version reads format 1"):
            open_it()
    assert path.read_bytes() == content


def test_a_reader_sees_what_a_writer_has_committed_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    with closing(opened(path)) as writer, closing(open_readonly(path, version=1)) as reader:
        with transaction(writer):
            writer.execute("INSERT INTO numbers VALUES (1)")
        assert numbers(reader) == [1]
        with pytest.raises(sqlite3.OperationalError) as caught:
            reader.execute("INSERT INTO numbers VALUES (2)")
    assert cause_of(caught.value) is Cause.NO_ACCESS


def test_a_file_in_a_folder_that_cannot_be_written_is_read_without_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "numbers.sqlite"
    with closing(opened(path)) as database:
        database.execute("INSERT INTO numbers VALUES (1)")
    monkeypatch.setattr("ingest.sqlite.os.access", lambda *_: False)
    with closing(open_readonly(path)) as database:
        assert numbers(database) == [1]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_missing_file_is_not_created_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        open_readonly(tmp_path / "none.sqlite")
    assert cause_of(caught.value) is Cause.NO_ACCESS
    assert list(tmp_path.iterdir()) == []


def test_a_locked_file_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    opened(path).close()
    with locked(path):
        start = time.monotonic()
        with pytest.raises(sqlite3.OperationalError) as caught:
            opened(path, wait_s=0.2)
        assert 0.2 <= time.monotonic() - start < 5
        assert cause_of(caught.value) is Cause.LOCKED
        waiting: list[sqlite3.Connection] = []
        thread = threading.Thread(target=lambda: waiting.append(opened(path, wait_s=30)))
        thread.start()
        time.sleep(0.1)
        assert not waiting
    thread.join()
    waiting[0].close()


def test_what_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "numbers.sqlite"
    path.write_bytes(b"no database" * 1000)
    for open_it in (lambda: opened(path), lambda: open_readonly(path, version=1)):
        with pytest.raises(sqlite3.DatabaseError) as caught:
            open_it()
        assert cause_of(caught.value) is Cause.DAMAGED


def test_a_transaction_that_raises_leaves_nothing_and_no_lock(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "numbers.sqlite")) as database:
        with pytest.raises(ZeroDivisionError), transaction(database):
            database.execute("INSERT INTO numbers VALUES (1)")
            raise ZeroDivisionError
        assert numbers(database) == []
        with transaction(database):
            database.execute("INSERT INTO numbers VALUES (2)")
        assert numbers(database) == [2]
