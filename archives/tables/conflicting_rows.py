"""Rows that contradict each other about the study of an image."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from retrieval.records import Quarantined


@dataclass(frozen=True, slots=True)
class FileClaim:
    """A row that names a file: its number, the identity of the file (empty: no file), and the study it claims it for."""

    row: int
    file: str
    study: Hashable


class FileClaims:
    """Assigns each file to one row of a table. A file that several studies claim is assigned to none."""

    def __init__(self, table: Path, claims: Iterable[FileClaim]) -> None:
        self._table = table
        self._files: dict[int, str] = {}
        studies: dict[str, Hashable] = {}
        self._contested: set[str] = set()
        for claim in claims:
            self._files[claim.row] = claim.file
            if claim.file and studies.setdefault(claim.file, claim.study) != claim.study:
                self._contested.add(claim.file)
        self._assigned: set[str] = set()

    def find_conflict(self, row: int, name: str) -> Quarantined | None:
        """Why the row gets no file (`conflicting_study`, `duplicate_id`); None if it gets its file."""
        file = self._files.get(row, "")
        if file in self._contested:
            detail = (
                f"rows of several studies of {self._table} name the file {name}, perhaps in different spellings; it is not "
                "indexed. Correct the rows; --prune removes it if it was indexed before"
            )
            return Quarantined(name, "conflicting_study", detail)
        if file in self._assigned:
            detail = f"several rows of {self._table} name the file {name}; the first row is used"
            return Quarantined(name, "duplicate_id", detail)
        return None

    def assign(self, row: int) -> None:
        """Assign its file to this row."""
        if file := self._files.get(row, ""):
            self._assigned.add(file)


def several_patients(name: str, table: Path) -> Quarantined:
    """The quarantine entry of a row whose study id belongs to several patients; `name` is its file."""
    detail = (
        f"the study id of {name} belongs to several patients in {table}, so it does not identify a study; its images are "
        "not indexed. Name a column with unique ids: --column study_id=COLUMN"
    )
    return Quarantined(name, "conflicting_study", detail)
