"""The tables of a ledger, and their rows as Python objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    dataset TEXT, name TEXT, image_id TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, sha256 TEXT, bundle_id TEXT,
    notes TEXT, PRIMARY KEY (dataset, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS images ON files (dataset, image_id);
CREATE TABLE IF NOT EXISTS quarantine (
    dataset TEXT, name TEXT, code TEXT, detail TEXT, run INTEGER, PRIMARY KEY (dataset, name, code)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS superseded (sha256 TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY, dataset TEXT, part TEXT, source TEXT, started_at TEXT, finished_at TEXT, summary TEXT
);
"""


@dataclass(frozen=True, slots=True)
class FileRow:
    """An indexed file as it was when it was read.

    Attributes:
        name: `ImageRecord.name`.
        image_id: The image id of its point.
        path: Its path, or the place of an image inside a table.
        size: In bytes.
        mtime_ns: Modification time in nanoseconds.
        sha256: Hash of its bytes.
        bundle_id: The bundle that encoded it.
        notes: How its pixels were read.
    """

    name: str
    image_id: str
    path: str
    size: int
    mtime_ns: int
    sha256: str
    bundle_id: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: its source (`SourceSpec.to_dict`), start, end and summary; the latter two are None if it was interrupted."""

    run: int
    dataset: str
    part: str
    source: dict[str, Any] | None
    started_at: str
    finished_at: str | None
    summary: dict[str, Any] | None
