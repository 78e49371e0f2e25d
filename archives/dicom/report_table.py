"""Reports in a table, found by study UID or accession number."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from archives.dicom.accession_numbers import AccessionNumbers
from archives.report_sections import split_report
from archives.tables.cells import CellTable, as_report_text, as_whole_numbers, is_dummy
from retrieval.errors import MissingColumn
from retrieval.records import Quarantined, Report

KEY = "accession_number"
SECTIONS = ("findings", "impression", "indication", "comparison")
TERMS = ("mesh", "problems")
_STUDY = "study_instance_uid"
_NAMES = {
    KEY: ("accessionnumber", "accession", "accessionno"),
    _STUDY: ("studyinstanceuid", "studyuid"),
    "study_id": ("studyid",),
    "report": ("report",),
    **{field: (field,) for field in (*SECTIONS, *TERMS)},
}
# A column `study_id` may hold anything; a UID (PS3.5, 9.1) or an id of this archive says which study is meant.
_UID = re.compile(r"[0-2](?:\.[0-9]+)+")


@dataclass(frozen=True, slots=True)
class ReportContent:
    """A report and its terms."""

    report: Report
    mesh: str
    problems: str

    @property
    def words(self) -> str:
        """All that it says, whatever its white space."""
        return "\0".join(" ".join(text.split()) for text in (*astuple(self.report), self.mesh, self.problems))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row: its number (from 1, the header not counted), its keys (empty: none), what it says."""

    number: int
    study: str
    accession: str
    content: ReportContent


class ReportTable:
    """The rows of a table by study.

    A row belongs to the study of its StudyInstanceUID, else to that of its accession number, if no other study and no
    other row has that. Accession numbers are patient data: what is quarantined goes by the number of its row.
    """

    def __init__(self, table: Path, hash_study: Callable[[str], str] = str) -> None:
        """Read the table; `hash_study` makes of a StudyInstanceUID the id of the study.

        Raises:
            SourceError: it is missing or not a table, or has two columns for one thing.
            MissingColumn: it has neither StudyInstanceUID nor accession number, or neither text nor terms.
            MissingExtra: it is Parquet, and the extra `parquet` is not installed.
        """
        self._table = table
        self._hash_study = hash_study
        cells = CellTable(table, lambda name: _field_of(name) in (KEY, _STUDY, "study_id"))
        columns = _columns(cells)
        self.notes = cells.notes
        rows = list(cells.rows(list(columns.values())))
        by_field = {field: [row[place] for row in rows] for place, field in enumerate(columns)}
        empty = [""] * len(rows)
        accessions = as_whole_numbers(by_field.get(KEY, empty))
        self._cells = [
            (number, uid, study_id, accession, {field: by_field[field][number - 1] for field in columns})
            for number, (uid, study_id, accession) in enumerate(
                zip(by_field.get(_STUDY, empty), by_field.get("study_id", empty), accessions, strict=True), start=1
            )
            if any(rows[number - 1])
        ]

    def attach(
        self, studies: Container[str], accessions: AccessionNumbers
    ) -> tuple[dict[str, ReportContent], list[Quarantined]]:
        """What belongs to which of `studies`, and the rows that belong to none for certain."""
        rows = [self._row(number, uid, study_id, studies, accession, cells)
                for number, uid, study_id, accession, cells in self._cells]  # fmt: skip
        by_uid: dict[str, list[_Row]] = {}
        by_accession: dict[str, list[_Row]] = {}
        lost: list[int] = []
        for row in rows:
            if row.study in studies:
                by_uid.setdefault(row.study, []).append(row)
            elif row.study or not row.accession:
                lost.append(row.number)
            else:
                by_accession.setdefault(row.accession, []).append(row)
        attached: dict[str, ReportContent] = {}
        found: list[Quarantined] = []
        for study_id, those in by_uid.items():
            self._settle(study_id, those, "study UID", attached, found)
        for accession, those in by_accession.items():
            study = accessions.study_of(accession)
            if doubt := accessions.doubt(accession):
                what = f"{self._names(those)}: the accession number is {doubt}, so that the report is attached to none"
                found.append(Quarantined(self._name(those[0].number), "shared_accession", f"{what}; {_ADVICE}"))
            elif study is None:
                lost += [row.number for row in those]
            elif study in by_uid:
                what = f"{self._names(those)}: another row has the study UID of the same study, and that counts"
                found.append(Quarantined(self._name(those[0].number), "duplicate_id", what))
            else:
                self._settle(study, those, "accession number", attached, found)
        for number in sorted(lost):
            detail = f"{self._name(number)} has the accession number or study UID of no image"
            found.append(Quarantined(self._name(number), "row_without_file", detail))
        return attached, found

    def _settle(
        self, study_id: str, rows: list[_Row], key: str, attached: dict[str, ReportContent], found: list[Quarantined]
    ) -> None:
        """Attach what `rows` say of a study, if they say the same."""
        if all(row.content.words == rows[0].content.words for row in rows):
            attached[study_id] = rows[0].content
            for row in rows[1:]:
                detail = f"{self._name(row.number)} says what row {rows[0].number} says of the same {key}"
                found.append(Quarantined(self._name(row.number), "duplicate_id", detail))
            return
        detail = f"{self._names(rows)} have one {key} and differ; none is used, since none can be told to be right"
        found.append(Quarantined(self._name(rows[0].number), "conflicting_report", detail))

    def _row(
        self, number: int, uid: str, study_id: str, studies: Container[str], accession: str, cells: dict[str, str]
    ) -> _Row:
        study = self._hash_study(uid) if uid and not is_dummy(uid) else ""
        if not study and study_id:
            study = study_id if study_id in studies else self._hash_study(study_id) if _UID.fullmatch(study_id) else ""
        texts = {section: cells.get(section, "") for section in SECTIONS}
        if "findings" not in cells:
            texts["findings"] = cells.get("report", "")
        texts |= {section: as_report_text(texts[section]) for section in ("findings", "impression")}
        content = ReportContent(split_report(Report(**texts)), *(cells.get(field, "") for field in TERMS))
        return _Row(number, study, accession, content)

    def _name(self, number: int) -> str:
        return f"{self._table.name} row {number}"

    def _names(self, rows: Iterable[_Row]) -> str:
        numbers = [str(row.number) for row in rows]
        some = ", ".join(numbers[:_SHOWN])
        more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
        return f"{self._table.name} row{'s' if len(numbers) > 1 else ''} {some}{more}"


_SHOWN = 5
_ADVICE = f"a column {_STUDY} would tell"


def _field_of(name: str) -> str | None:
    """The field that a column holds, whatever its case and word breaks: `AccessionNumber`, `accession_number`, `MeSH`."""
    plain = re.sub(r"[^a-z0-9]", "", re.sub(r"\.[0-9]+$", "", name.lower()))  # `findings.1`: a second one, to pandas
    return next((field for field, names in _NAMES.items() if plain in names), None)


def _columns(cells: CellTable) -> dict[str, str]:
    """Column by field."""
    found: dict[str, list[str]] = {}
    for name in cells.columns:
        if field := _field_of(name):
            found.setdefault(field, []).append(name)
    for names in found.values():
        if len(names) > 1:
            raise cells.ambiguous(names)
    keys = {KEY, _STUDY, "study_id"} & found.keys()
    if not keys or found.keys() == keys:
        raise MissingColumn(
            f"{cells.path} needs the column {KEY} or {_STUDY}, and at least one of {', '.join((*SECTIONS, *TERMS))}; "
            f"found {cells.found}"
        )
    return {field: names[0] for field, names in found.items()}
