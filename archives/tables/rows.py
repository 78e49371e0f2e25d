"""The rows of a table of images, by study: what their cells say, and where they contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from archives.tables.cells import CellTable, as_ids, as_report_text, as_whole_numbers
from archives.tables.columns import FIELDS, TEXTS, TableColumns, find_columns, is_key
from archives.tables.image_cells import CellImage, ImageColumn
from archives.views import read_view
from retrieval.labels import find_term, is_mapping, read_status, read_terms
from retrieval.records import Status, View

_REPORT_TEXTS = ("findings", "impression", "report")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One image: the number of its row (from 1, the header not counted), its study, its file, its view, what cells say.

    `study` is empty where the row names none. `statuses` has an entry for each finding column, None where it says nothing.
    `has_content` tells of a cell for the image that is no file name and not empty.
    """

    number: int
    study: str
    file: str
    image_id: str
    view: View
    texts: tuple[str, ...]
    statuses: tuple[Status | None, ...]
    stored: CellImage | None
    has_content: bool

    @property
    def name(self) -> str:
        """What people are told of the image."""
        return self.file or row_name(self.number)

    @property
    def key(self) -> Hashable:
        """Of which study it is: of the one it names, or of one of its own."""
        return self.study or self.number

    @property
    def claim(self) -> Hashable:
        """What two rows with one file must have in common: the study, or, where they name none, everything they say."""
        return self.study or (self.texts, self.statuses)


@dataclass(slots=True)
class StudyRows:
    """A study: its rows, the texts and statuses in which they agree, and the names of those in which they do not.

    `is_of_several_patients` says that the rows have the id in common and nothing else.
    """

    id: str
    rows: list[TableRow]
    findings: tuple[str, ...]
    is_of_several_patients: bool
    texts: tuple[str, ...] = ()
    statuses: tuple[tuple[str, Status], ...] = ()
    differing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        texts = []
        for name, cells in zip(TEXTS, zip(*(row.texts for row in self.rows), strict=True), strict=True):
            given = list(filter(None, cells))
            if len({" ".join(text.split()) for text in given}) > 1:
                self.differing.append(name)
                given = []
            texts.append(given[0] if given else "")
        self.texts = tuple(texts)
        agreed: list[tuple[str, Status]] = []
        for place, name in enumerate(self.findings):
            said = {status for row in self.rows if (status := row.statuses[place])}
            if len(said) > 1:
                self.differing.append(name)
            agreed += [(name, status) for status in said if len(said) == 1]
        self.statuses = tuple(agreed)


class TableRows:
    """The rows of a table, and its studies in the order in which they first appear.

    `notes` say what had to be assumed to read the table; `holds_images` that the images are in the table itself.
    """

    def __init__(self, path: Path, wanted: Mapping[str, str], is_file_name: Callable[[str], bool]) -> None:
        """Read everything but images; `is_file_name` tells what a row calls its image. Raises as `TableSource`."""
        table = CellTable(path, lambda name: is_key(wanted, name))
        self._columns = find_columns(table, wanted)
        column = self._columns.fields["image"]
        kind = table.parquet.images_in(column) if table.parquet else None
        self._images = ImageColumn(path, column, kind) if kind and kind != "paths" else None
        self.holds_images = self._images is not None
        fields = [name for name in self._columns.fields if name != "image" or not kind]
        names = [self._columns.fields[name] for name in fields]
        findings = self._columns.named | self._columns.found
        patient = [self._columns.patient] if self._columns.patient else []
        cells = list(table.rows([*names, *findings.values(), *patient]))
        files = (
            [row[fields.index("image")] for row in cells]
            if table.parquet is None or not kind
            else list(table.parquet.paths(column))
        )
        files = [file if is_file_name(file) else "" for file in files]
        if self.holds_images:  # a name that several bear names none of them
            count = Counter(files)
            files = [file if count[file] == 1 else "" for file in files]
        given = [row[fields.index("study_id")] for row in cells] if "study_id" in fields else [""] * len(cells)
        ids = as_ids(given)
        columns = {name: [row[len(fields) + place] for row in cells] for place, name in enumerate(findings)}
        self.findings, notes = _read_findings(table, self._columns, columns)
        notes += _notes_on_ids(given, ids)
        terms = [fields.index(name) for name in ("mesh", "problems", "labels") if name in fields]
        notes += _notes_on_terms([row[place] for row in cells for place in terms])
        self.notes = (*table.notes, *notes, *(self._images.notes if self._images else ()))
        self._mixed = _shared_ids(ids, [row[-1] for row in cells]) if patient else frozenset()
        statuses = list(zip(*([read_status(cell) for cell in columns[name]] for name in self.findings), strict=True))
        statuses = statuses or [()] * len(cells)
        self.all = [
            self._row(number, dict(zip(fields, row, strict=False)), study, file, said)
            for number, (row, study, file, said) in enumerate(zip(cells, ids, files, statuses, strict=True), start=1)
            if file or any(row) or self.holds_images  # spreadsheets end in rows of empty cells
        ]
        self.studies = self._by_study()

    def pieces(self) -> Iterator[tuple[StudyRows, list[TableRow]]]:
        """Each study and its rows; of images in the table each run of rows of a study, for these are read in order."""
        if not self.holds_images:
            yield from ((study, study.rows) for study in self.studies)
            return
        studies = {row.number: study for study in self.studies for row in study.rows}
        for _, run in groupby(self.all, key=lambda row: row.key):
            rows = list(run)
            yield studies[rows[0].number], rows

    def _row(
        self, number: int, cells: dict[str, str], study: str, file: str, statuses: tuple[Status | None, ...]
    ) -> TableRow:
        cells = dict.fromkeys(FIELDS, "") | cells
        cells |= {name: as_report_text(cells[name]) for name in _REPORT_TEXTS}
        if "findings" not in self._columns.fields:
            cells["findings"] = cells["report"]
        if cells["labels"]:
            terms = [*read_terms(cells["problems"]), *read_terms(cells["labels"])]
            cells["problems"] = ";".join("/".join(term) for term in terms)
        name = file or row_name(number)
        return TableRow(
            number,
            study,
            file,
            cells["image_id"] or name.replace("\\", "/"),
            read_view(cells["view"]),
            tuple(cells[text] for text in TEXTS),
            statuses,
            CellImage(self._images, number - 1, name) if self._images else None,
            bool(cells["image"]) and not file,
        )

    def _by_study(self) -> list[StudyRows]:
        by_key: dict[Hashable, list[TableRow]] = {}
        for row in self.all:
            by_key.setdefault(row.key, []).append(row)
        named = {row.study for row in self.all}
        studies = []
        for rows in by_key.values():
            first = rows[0]
            own = first.image_id if first.image_id not in named else f"{first.image_id} ({row_name(first.number)})"
            studies.append(StudyRows(first.study or own, rows, self.findings, first.study in self._mixed))
        return studies


def row_name(number: int) -> str:
    """What a row is called that names no file."""
    return f"row {number}"


def _shared_ids(ids: Sequence[str], patients: Sequence[str]) -> frozenset[str]:
    """The study ids that rows of several patients have."""
    patient_of: dict[str, str] = {}
    pairs = zip(ids, as_whole_numbers(patients), strict=True)
    return frozenset(id for id, patient in pairs if id and patient and patient_of.setdefault(id, patient) != patient)


def _notes_on_ids(given: Sequence[str], ids: Sequence[str]) -> list[str]:
    count = sum(bool(before and not after) for before, after in zip(given, ids, strict=True))
    what = "a study id that names none (a dummy such as ANON, a negative or a rounded number)"
    return [f"rows with {what} are studies of their own: {count}"] if count else []


def _notes_on_terms(cells: Sequence[str]) -> list[str]:
    count = sum(map(is_mapping, cells))
    return (
        [f"cells of labels that are mappings, as of JSON, were not read; give each a column: {count}"] if count else []
    )


def _has_other_codes(cells: Sequence[str]) -> bool:
    """Whether a column is coded from 0 to 3, as by CheXbert (0 blank, 1 present, 2 absent, 3 uncertain) or by grades."""
    codes = {*as_whole_numbers(cells)} - {""}
    return codes <= {*"0123"} and not codes <= {*"01"}


def _read_findings(
    table: CellTable, columns: TableColumns, cells: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], list[str]]:
    """The findings whose columns are read, and notes on that."""
    read: dict[str, str] = {}
    notes: list[str] = []
    coded = [name for name in columns.found if _has_other_codes(cells[name])]
    if coded:
        what = "hold 2 or 3, so that 0 and 1 may mean something else in this table"
        notes.append(f"columns with findings' names were not read: {', '.join(coded)} {what}")
    for name in cells:
        given = [cell for cell in cells[name] if cell]
        strange = sum(read_status(cell) is None for cell in given)
        if name in columns.named:
            if strange:
                notes.append(f"{strange} cells of the column for {name} are not 1, 0 or -1 and were not read")
        elif not given or coded:
            continue
        elif strange:
            notes.append(f"the column {name!r} has a finding's name, but cells other than 1, 0 and -1: it was not read")
            continue
        head = (find_term(name) or [name])[0]
        if head in read:
            raise table.ambiguous([columns.found.get(read[head], read[head]), columns.found.get(name, name)])
        read[head] = name
    if found := [name for name in read.values() if name in columns.found]:
        notes.append(f"labels were read from the columns {', '.join(found)}")
    return tuple(read.values()), notes
