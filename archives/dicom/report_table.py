"""A table of reports, matched to DICOM studies by study UID or accession number."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from archives.dicom.accession_numbers import AccessionNumbers
from archives.report_sections import split_report
from archives.tables.cells import CellTable, as_report_text, as_whole_numbers, is_dummy
from retrieval.errors import MissingColumn
from retrieval.progress import Progress
from retrieval.records import Quarantined, Report

SECTIONS = ("findings", "impression", "indication", "comparison")
TERMS = ("mesh", "problems")
_ACCESSION = "accession_number"
_STUDY_UID = "study_instance_uid"
_STUDY_ID = "study_id"
_KEYS = (_ACCESSION, _STUDY_UID, _STUDY_ID)
# Names of columns by field, in lower case and without word breaks.
_COLUMN_NAMES = {
    _ACCESSION: ("accessionnumber", "accession", "accessionno"),
    _STUDY_UID: ("studyinstanceuid", "studyuid"),
    _STUDY_ID: ("studyid",),
    "report": ("report",),
    **{field: (field,) for field in (*SECTIONS, *TERMS)},
}
# A column `study_id` may hold anything. Only a UID (PS3.5, 9.1) or an id of this archive identifies a study.
_UID = re.compile(r"[0-2](?:\.[0-9]+)+")
_LISTED_ROWS = 5
_PROGRESS_STEP = 256


@dataclass(frozen=True, slots=True)
class ReportContent:
    """A report and its terms."""

    report: Report
    mesh: str
    problems: str

    @property
    def words(self) -> str:
        """The whole text with normalised white space, for comparison."""
        return "\0".join(" ".join(text.split()) for text in (*astuple(self.report), self.mesh, self.problems))


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of a row; `number` counts from 1 without the header, and an empty key is missing."""

    number: int
    study_uid: str
    study_id: str
    accession: str
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with the id of its study (empty if it names none), its accession number and its content."""

    number: int
    study: str
    accession: str
    content: ReportContent


@dataclass(slots=True)
class _Matches:
    """Reports by study, and the rows that match no study."""

    reports: dict[str, ReportContent]
    quarantined: list[Quarantined]


class ReportTable:
    """A table with one report in each row.

    A row belongs to the study with its StudyInstanceUID, else to the study with its accession number, if no other study
    and no other row has that number. Accession numbers are patient data: messages name a row by its number.
    """

    def __init__(self, table: Path, hash_study: Callable[[str], str] = str) -> None:
        """Read the table; `hash_study` turns a StudyInstanceUID into the id of the study.

        Raises:
            SourceError: the file is missing or not a table, or two columns are for the same field.
            MissingColumn: there is no column with study UID or accession number, or none with text or terms.
            MissingExtra: the table is Parquet, and the extra `parquet` is not installed.
        """
        self._table = table
        self._hash_study = hash_study
        cells = CellTable(table, lambda name: _field_of(name) in _KEYS)
        columns = _find_columns(cells)
        self.notes = cells.notes
        rows = list(cells.rows(list(columns.values())))
        by_field = {field: [row[place] for row in rows] for place, field in enumerate(columns)}
        empty = [""] * len(rows)
        study_uids, study_ids = by_field.get(_STUDY_UID, empty), by_field.get(_STUDY_ID, empty)
        accessions = as_whole_numbers(by_field.get(_ACCESSION, empty))
        self._rows = [
            _Cells(number, *keys, {field: by_field[field][number - 1] for field in columns})
            for number, keys in enumerate(zip(study_uids, study_ids, accessions, strict=True), start=1)
            if any(rows[number - 1])
        ]

    def match(
        self, studies: Container[str], accessions: AccessionNumbers, progress: Progress
    ) -> tuple[dict[str, ReportContent], list[Quarantined]]:
        """The reports of `studies` by study id, and the rows that cannot be matched for certain."""
        by_study: dict[str, list[_Row]] = {}
        by_accession: dict[str, list[_Row]] = {}
        unmatched: list[int] = []
        for done, cells in enumerate(self._rows, start=1):
            row = self._read_row(cells, studies)
            if row.study in studies:
                by_study.setdefault(row.study, []).append(row)
            elif row.study or not row.accession:
                unmatched.append(row.number)
            else:
                by_accession.setdefault(row.accession, []).append(row)
            if done % _PROGRESS_STEP == 0 or done == len(self._rows):
                progress(done, len(self._rows))
        matches = _Matches({}, [])
        for study_id, rows in by_study.items():
            self._add_report(study_id, rows, "study UID", matches)
        for accession, rows in by_accession.items():
            study = accessions.study_of(accession)
            first = self._name_row(rows[0].number)
            if reason := accessions.why_ambiguous(accession):
                detail = (
                    f"{self._name_rows(rows)}: the accession number is {reason}, so the report is not used; add a column "
                    f"{_STUDY_UID}"
                )
                matches.quarantined.append(Quarantined(first, "shared_accession", detail))
            elif study is None:
                unmatched += [row.number for row in rows]
            elif study in by_study:
                detail = f"{self._name_rows(rows)}: another row has the study UID of the same study and is used instead"
                matches.quarantined.append(Quarantined(first, "duplicate_id", detail))
            else:
                self._add_report(study, rows, "accession number", matches)
        for number in sorted(unmatched):
            name = self._name_row(number)
            detail = f"{name}: no image has its study UID or accession number"
            matches.quarantined.append(Quarantined(name, "row_without_file", detail))
        return matches.reports, matches.quarantined

    def _add_report(self, study_id: str, rows: list[_Row], key: str, matches: _Matches) -> None:
        """Add the report of a study if all its rows agree."""
        first = rows[0]
        if all(row.content.words == first.content.words for row in rows):
            matches.reports[study_id] = first.content
            for row in rows[1:]:
                name = self._name_row(row.number)
                detail = f"{name} repeats row {first.number}, which has the same {key}"
                matches.quarantined.append(Quarantined(name, "duplicate_id", detail))
            return
        detail = f"{self._name_rows(rows)} have the same {key} and differ; none is used, because any may be wrong"
        matches.quarantined.append(Quarantined(self._name_row(first.number), "conflicting_report", detail))

    def _read_row(self, cells: _Cells, studies: Container[str]) -> _Row:
        study = self._hash_study(cells.study_uid) if cells.study_uid and not is_dummy(cells.study_uid) else ""
        if not study and cells.study_id in studies:
            study = cells.study_id
        elif not study and _UID.fullmatch(cells.study_id):
            study = self._hash_study(cells.study_id)
        texts = {section: cells.texts.get(section, "") for section in SECTIONS}
        if "findings" not in cells.texts:
            texts["findings"] = cells.texts.get("report", "")
        texts |= {section: as_report_text(texts[section]) for section in ("findings", "impression")}
        content = ReportContent(split_report(Report(**texts)), *(cells.texts.get(field, "") for field in TERMS))
        return _Row(cells.number, study, cells.accession, content)

    def _name_row(self, number: int) -> str:
        return f"{self._table.name} row {number}"

    def _name_rows(self, rows: Iterable[_Row]) -> str:
        numbers = [str(row.number) for row in rows]
        listed = ", ".join(numbers[:_LISTED_ROWS])
        more = f" and {len(numbers) - _LISTED_ROWS} more" if len(numbers) > _LISTED_ROWS else ""
        return f"{self._table.name} row{'s' if len(numbers) > 1 else ''} {listed}{more}"


def _field_of(name: str) -> str | None:
    """The field of a column, in any case and with any word breaks: `AccessionNumber`, `accession_number`, `MeSH`."""
    plain = re.sub(
        r"[^a-z0-9]", "", re.sub(r"\.[0-9]+$", "", name.lower())
    )  # pandas calls a second column `findings.1`
    return next((field for field, names in _COLUMN_NAMES.items() if plain in names), None)


def _find_columns(cells: CellTable) -> dict[str, str]:
    """Column by field."""
    found: dict[str, list[str]] = {}
    for name in cells.columns:
        if field := _field_of(name):
            found.setdefault(field, []).append(name)
    for names in found.values():
        if len(names) > 1:
            raise cells.ambiguous(names)
    keys = found.keys() & set(_KEYS)
    if not keys or found.keys() == keys:
        raise MissingColumn(
            f"{cells.path} needs the column {_ACCESSION} or {_STUDY_UID}, and at least one of "
            f"{', '.join((*SECTIONS, *TERMS))}; found {cells.found}"
        )
    return {field: names[0] for field, names in found.items()}
