"""Reports in a table, found by accession number."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ingest.sources.cells import CellTable
from ingest.sources.sections import split_report
from retrieval.errors import MissingColumn
from retrieval.records import Quarantined, Report

KEY = "accession_number"
SECTIONS = ("findings", "impression", "indication", "comparison")
TERMS = ("mesh", "problems")


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report, its terms, and the number of its row (from 1, the header not counted)."""

    number: int
    report: Report
    mesh: str
    problems: str


class AccessionReports:
    """The rows of a table by accession number, of equal ones the first.

    Accession numbers are patient data: what is set aside goes by the number of its row.
    """

    def __init__(self, table: Path) -> None:
        """Read the table.

        Raises:
            SourceError: it is missing or not a table.
            MissingColumn: it has no accession number, or neither text nor terms.
            MissingExtra: it is Parquet, and the extra `parquet` is not installed.
        """
        self._table = table
        self._rows: dict[str, ReportRow] = {}
        self._duplicates: list[Quarantined] = []
        self._unkeyed: list[int] = []
        cells = CellTable(table)
        columns = _columns(cells)
        fields = tuple(columns)
        for number, values in enumerate(cells.rows([columns[field] for field in fields]), start=1):
            self._add(number, dict(zip(fields, values, strict=True)))

    def find(self, accessions: Collection[str]) -> ReportRow | None:
        """The first row that one of `accessions` has."""
        rows = [self._rows[accession] for accession in accessions if accession in self._rows]
        return min(rows, key=lambda row: row.number, default=None)

    def set_aside(self, accessions: Collection[str]) -> list[Quarantined]:
        """Rows that say again what an earlier one did, and rows without a file, given the accession numbers of all files."""
        lost = [row.number for accession, row in self._rows.items() if accession not in accessions]
        return [
            *self._duplicates,
            *(
                Quarantined(
                    self._name(number), "row_without_file", f"{self._name(number)} has the accession number of no image"
                )
                for number in sorted([*lost, *self._unkeyed])
            ),
        ]

    def _add(self, number: int, cells: dict[str, str]) -> None:
        key = cells[KEY]
        if not key:
            self._unkeyed.append(number)
        elif first := self._rows.get(key):
            detail = f"{self._name(number)} has the accession number of row {first.number}, which is used"
            self._duplicates.append(Quarantined(self._name(number), "duplicate_id", detail))
        else:
            report = split_report(Report(**{section: cells.get(section, "") for section in SECTIONS}))
            self._rows[key] = ReportRow(number, report, *(cells.get(field, "") for field in TERMS))

    def _name(self, number: int) -> str:
        return f"{self._table.name} row {number}"


def _columns(cells: CellTable) -> dict[str, str]:
    """Column by field, whatever its case and word breaks: `AccessionNumber`, `accession_number` and `MeSH` will do."""
    known = {_plain(field): field for field in (KEY, *SECTIONS, *TERMS)}
    columns: dict[str, str] = {}
    for name in cells.columns:
        if field := known.get(_plain(name)):
            columns.setdefault(field, name)
    if KEY not in columns or len(columns) == 1:
        raise MissingColumn(
            f"{cells.path} needs the column {KEY} and at least one of {', '.join((*SECTIONS, *TERMS))}; "
            f"found {', '.join(cells.columns)}"
        )
    return columns


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
