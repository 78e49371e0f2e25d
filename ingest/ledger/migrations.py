"""Migrates ledgers of earlier versions: removes what their messages quoted from DICOM headers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from archives.dicom.modality_names import redact_modality, redact_modality_in_summary

_MODALITY = "wrong_modality"  # messages with this code quoted a header value in earlier versions


def redact_modalities(database: sqlite3.Connection) -> None:
    """Remove header values that an earlier version quoted in messages."""
    database.execute("PRAGMA secure_delete=ON")  # removed text must not stay in free pages
    messages = "SELECT DISTINCT detail FROM quarantine WHERE code = ?"
    changed = _redacted(database.execute(messages, (_MODALITY,)), redact_modality)
    database.executemany("UPDATE quarantine SET detail = ? WHERE detail = ?", changed)
    summaries = "SELECT DISTINCT summary FROM runs WHERE instr(summary, ?)"
    changed_runs = _redacted(database.execute(summaries, (_MODALITY,)), redact_modality_in_summary)
    database.executemany("UPDATE runs SET summary = ? WHERE summary = ?", changed_runs)
    if changed or changed_runs:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _redacted(rows: Iterable[tuple[str]], redact: Callable[[str], str]) -> list[tuple[str, str]]:
    """Pairs (new, old) of the texts that `redact` changes."""
    return [(plain, text) for (text,) in rows if (plain := redact(text)) != text]


def read_detail(code: str, detail: str) -> str:
    """The message of a quarantined file, without header values that an earlier version quoted."""
    return redact_modality(detail) if code == _MODALITY else detail


def read_summary(text: str | None) -> dict[str, Any] | None:
    """The summary of a run, without header values that an earlier version quoted; None if the run has no summary."""
    if text and _MODALITY in text:
        text = redact_modality_in_summary(text)
    return json.loads(text) if text else None
