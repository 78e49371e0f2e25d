"""Reads a table that assigns studies to train, validation and test."""

from __future__ import annotations

import csv
from pathlib import Path

from retrieval.errors import MissingColumn, SourceError

_STUDY_COLUMNS = ("study_id", "uid")


def read_split(path: Path, split: str) -> frozenset[str]:
    """Ids of the studies of one split, from a CSV table with the columns `study_id` (or `uid`) and `split`.

    Raises:
        SourceError: the table cannot be read, has no such split, or a study is in two splits.
        MissingColumn: a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read as a table of splits: {error}") from error
    column = next((name for name in _STUDY_COLUMNS if rows and name in rows[0]), None)
    if column is None or "split" not in rows[0]:
        columns = ", ".join(map(str, rows[0])) if rows else "no rows"
        raise MissingColumn(f"{path}: expected the columns study_id (or uid) and split, found {columns}")
    found: dict[str, str] = {}
    for row in rows:
        study, name = (row[column] or "").strip(), (row["split"] or "").strip()
        if found.setdefault(study, name) != name:
            raise SourceError(f"{path}: the study {study} is in the splits {found[study]} and {name}")
    if split not in found.values():
        raise SourceError(f"{path} has no split {split!r}; it has: {', '.join(sorted(set(found.values())))}")
    return frozenset(study for study, name in found.items() if name == split)
