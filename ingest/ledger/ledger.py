"""The ledger of a collection: indexed files, quarantined files, runs, and the vectors of report texts.

The index is the truth. The ledger saves work (a file with unchanged size and modification time is not read again, a text
is encoded once) and keeps what an index cannot hold: the quarantine with its reasons. A lost ledger costs time only.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archives.source_part import SourcePart
from ingest.ledger.migrations import read_detail, read_summary, redact_modalities
from ingest.ledger.schema import SCHEMA, FileRow, RunRow
from ingest.sqlite import Cause, UnknownFormat, cause_of, open_database, open_readonly, transaction
from retrieval.disk_space import free_bytes
from retrieval.errors import DiskFull, SystemFailure
from retrieval.records import Quarantined

RETRY = "retry"
"""The name, in place of a part, of a run that reads quarantined files again."""

_FORMAT = 1
# Every sqlite that Python 3.11 ships with accepts this many parameters in one statement.
_PARAMETERS = 500
# How long to wait for another process that writes.
_BUSY_S = 60


class Ledger:
    """An sqlite file; safe from several threads and several processes."""

    def __init__(self, path: Path | None, *, readonly: bool = False) -> None:
        """Open the ledger at `path`, and create it if it is missing; None keeps it in memory.

        With `readonly` nothing is written, so the home may be on a read-only disk.

        Raises:
            SystemFailure: the file was written by another version, is damaged, or is locked by another process.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            if path and readonly:
                self._database = open_readonly(path, version=_FORMAT, wait_s=_BUSY_S)
            else:
                self._database = open_database(path, schema=SCHEMA, version=_FORMAT, wait_s=_BUSY_S, prepare=_prepare)
        except UnknownFormat as error:
            raise SystemFailure(f"the ledger {path} cannot be used: {error}; remove it") from error
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> SystemFailure:
        """The project's error for an sqlite error."""
        match cause_of(error):
            case Cause.LOCKED:
                return SystemFailure(f"the ledger {self.path} is locked by another process: {error}")
            case Cause.DISK_FULL:
                free = f"; the disk has {free_bytes(self.path) / 1e6:,.0f} MB free" if self.path else ""
                return DiskFull(f"the ledger {self.path} cannot be written: {error}{free}")
            case Cause.NO_ACCESS:
                return SystemFailure(
                    f"the ledger {self.path} cannot be opened: {error}; check that the file is readable and writable"
                )
            case Cause.DAMAGED:
                return SystemFailure(
                    f"the ledger {self.path} is damaged: {error}; remove it, and files will be read again"
                )

    def rows(self, dataset: str, names: Sequence[str]) -> dict[str, FileRow]:
        """Rows by name, for those of `names` that have been indexed."""
        rows = self._among(
            "SELECT name, image_id, path, size, mtime_ns, sha256, bundle_id, notes FROM files "
            "WHERE dataset = ? AND name IN",
            names,
            dataset,
        )
        return {
            name: FileRow(name, image_id, path, size, mtime_ns, sha256, bundle_id, tuple(json.loads(notes)))
            for name, image_id, path, size, mtime_ns, sha256, bundle_id, notes in rows
        }

    def record(self, run: int, dataset: str, rows: Sequence[FileRow]) -> None:
        """Record files that are in the index, and remove their quarantine entries of earlier runs.

        Each image id has one row; the row of another file with the same id is replaced.
        """
        self._write(
            "DELETE FROM files WHERE dataset = ? AND image_id = ? AND name <> ?",
            [(dataset, row.image_id, row.name) for row in rows],
        )
        self._write(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (dataset, r.name, r.image_id, r.path, r.size, r.mtime_ns, r.sha256, r.bundle_id, _json(r.notes))
                for r in rows
            ],
        )
        self._write(
            "DELETE FROM quarantine WHERE dataset = ? AND name = ? AND run <> ?",
            [(dataset, row.name, run) for row in rows],
        )

    def quarantine(self, run: int, dataset: str, items: Iterable[Quarantined]) -> None:
        """Record quarantined files and rows."""
        self._write(
            "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)",
            [(dataset, item.file, item.code, item.detail, run) for item in items],
        )

    def quarantined(self, dataset: str | None = None) -> list[Quarantined]:
        """Quarantined files and rows, sorted by name."""
        rows = self._all(
            "SELECT name, code, detail FROM quarantine WHERE ? IS NULL OR dataset = ? ORDER BY name, code",
            dataset,
            dataset,
        )
        # A ledger opened read-only may still hold messages of an earlier version.
        return [Quarantined(name, code, read_detail(code, detail)) for name, code, detail in rows]

    def notes(self) -> dict[str, int]:
        """Number of indexed files by note on how their pixels were read, most frequent first."""
        rows = self._all(
            "SELECT note.value, count(*) FROM files, json_each(files.notes) AS note "
            "GROUP BY note.value ORDER BY count(*) DESC, note.value"
        )
        return dict(rows)

    def image_ids(self) -> list[tuple[str, str]]:
        """Dataset and image id of every indexed file."""
        return [(dataset, image_id) for dataset, image_id in self._all("SELECT dataset, image_id FROM files")]

    def names(self, dataset: str, image_ids: Sequence[str]) -> dict[str, set[str]]:
        """Names of indexed files by image id, for those of `image_ids` that have any."""
        found: dict[str, set[str]] = {}
        statement = "SELECT image_id, name FROM files WHERE dataset = ? AND image_id IN"
        for image_id, name in self._among(statement, image_ids, dataset):
            found.setdefault(image_id, set()).add(name)
        return found

    def forget(self, dataset: str, image_ids: Iterable[str]) -> None:
        """Remove the rows of images that were pruned."""
        self._write("DELETE FROM files WHERE dataset = ? AND image_id = ?", [(dataset, each) for each in image_ids])

    def forget_older(self, run: int, dataset: str) -> None:
        """Remove quarantine entries of earlier runs. Call it after a run over the whole source."""
        self._write("DELETE FROM quarantine WHERE dataset = ? AND run <> ?", [(dataset, run)])

    def supersede(self, hashes: Iterable[str]) -> None:
        """Note the hashes of images that are about to be replaced, so that a later run can remove their thumbnails."""
        self._write("INSERT OR REPLACE INTO superseded VALUES (?)", [(sha256,) for sha256 in hashes])

    def superseded(self) -> set[str]:
        """SHA-256 of replaced images, noted by this run or by earlier runs that were killed."""
        return {sha256 for (sha256,) in self._all("SELECT sha256 FROM superseded")}

    def forget_superseded(self, hashes: Iterable[str]) -> None:
        """Remove these notes; the thumbnails are removed or still used by other images."""
        self._write("DELETE FROM superseded WHERE sha256 = ?", [(sha256,) for sha256 in hashes])

    def texts(self, bundle_id: str, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors (float32 [D]) by text, for those of `texts` that this bundle has encoded."""
        by_key = {_text_key(bundle_id, text): text for text in texts}
        rows = self._among("SELECT key, vector FROM texts WHERE key IN", list(by_key))
        return {by_key[key]: np.frombuffer(vector, dtype=np.float16).astype(np.float32) for key, vector in rows}

    def remember_texts(self, bundle_id: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Store the vectors of texts, in half precision as in the index."""
        self._write(
            "INSERT OR REPLACE INTO texts VALUES (?, ?)",
            [(_text_key(bundle_id, text), vector.astype(np.float16).tobytes()) for text, vector in vectors.items()],
        )

    def begin(self, dataset: str, part: str, source: dict[str, Any] | None, started_at: str) -> int:
        """Record the start of a run; gives the number of the run."""
        with self._using() as database:
            cursor = database.execute(
                "INSERT INTO runs (dataset, part, source, started_at) VALUES (?, ?, ?, ?)",
                (dataset, part, _json(source), started_at),
            )
        return int(cursor.lastrowid or 0)

    def end(self, run: int, finished_at: str, summary: dict[str, Any]) -> None:
        """Record the end of a run, with its summary."""
        self._write("UPDATE runs SET finished_at = ?, summary = ? WHERE run = ?", [(finished_at, _json(summary), run)])

    def runs(self) -> list[RunRow]:
        """All runs, latest first."""
        rows = self._all(
            "SELECT run, dataset, part, source, started_at, finished_at, summary FROM runs ORDER BY run DESC"
        )
        return [
            RunRow(run, dataset, part, json.loads(source), started, finished, read_summary(summary))
            for run, dataset, part, source, started, finished, summary in rows
        ]

    def unfinished(self) -> list[str]:
        """Sorted names of datasets with an interrupted run (or part) that no later run has repeated.

        Interrupted retries do not count: their files are still quarantined.
        """
        rows = self._all(
            "SELECT DISTINCT dataset FROM runs AS latest WHERE finished_at IS NULL AND part <> ? AND NOT EXISTS "
            "(SELECT 1 FROM runs WHERE dataset = latest.dataset AND run > latest.run AND "
            "(part = latest.part OR (part = ? AND finished_at IS NOT NULL))) ORDER BY dataset",
            RETRY,
            SourcePart.WHOLE,
        )
        return [dataset for (dataset,) in rows]

    def clear(self) -> None:
        """Remove all rows."""
        with self._using() as database:
            database.executescript(
                "DELETE FROM files; DELETE FROM quarantine; DELETE FROM texts; DELETE FROM superseded; DELETE FROM runs; "
                "VACUUM;"
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._using() as database:
            return database.execute(statement, values).fetchall()

    def _among(self, statement: str, keys: Sequence[Any], *values: Any) -> list[tuple[Any, ...]]:
        rows = []
        for start in range(0, len(keys), _PARAMETERS):
            some = keys[start : start + _PARAMETERS]
            rows += self._all(f"{statement} ({','.join('?' * len(some))})", *values, *some)
        return rows

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if not rows:
            return
        with self._using() as database, transaction(database):
            database.executemany(statement, rows)

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._database
            except sqlite3.ProgrammingError:  # a bug, not a state of the file
                raise
            except sqlite3.Error as error:
                raise self._failure(error) from error


def _prepare(database: sqlite3.Connection) -> None:
    # A power failure may lose the last rows; their files are then read again.
    database.execute("PRAGMA synchronous=NORMAL")
    redact_modalities(database)


def _text_key(bundle_id: str, text: str) -> bytes:
    return hashlib.sha256(f"{bundle_id}\0{text}".encode()).digest()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
