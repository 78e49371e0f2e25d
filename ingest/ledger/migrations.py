"""What becomes of the ledgers of earlier versions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from archives.dicom.modalities import redact_modality, redact_modality_in_summary

_MODALITY = "wrong_modality"  # the code of the messages that an earlier version quoted a header in


def redact_modalities(database: sqlite3.Connection) -> None:
    """Remove from messages what an earlier version quoted of DICOM headers."""
    database.execute("PRAGMA secure_delete=ON")  # what is removed must not stay in free pages
    messages = "SELECT DISTINCT detail FROM quarantine WHERE code = ?"
    changed = _redacted(database.execute(messages, (_MODALITY,)), redact_modality)
    database.executemany("UPDATE quarantine SET detail = ? WHERE detail = ?", changed)
    summaries = "SELECT DISTINCT summary FROM runs WHERE instr(summary, ?)"
    changed_runs = _redacted(database.execute(summaries, (_MODALITY,)), redact_modality_in_summary)
    database.executemany("UPDATE runs SET summary = ? WHERE summary = ?", changed_runs)
    if changed or changed_runs:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _redacted(rows: Iterable[tuple[str]], redact: Callable[[str], str]) -> list[tuple[str, str]]:
    """(new, old) of those texts that `redact` changes."""
    return [(plain, text) for (text,) in rows if (plain := redact(text)) != text]


def read_detail(code: str, detail: str) -> str:
    """Why a file is in quarantine, without what an earlier version quoted of its header."""
    return redact_modality(detail) if code == _MODALITY else detail


def read_summary(text: str | None) -> dict[str, Any] | None:
    """The summary of a run, without what an earlier version quoted of DICOM headers; None if there is none."""
    if text and _MODALITY in text:
        text = redact_modality_in_summary(text)
    return json.loads(text) if text else None
