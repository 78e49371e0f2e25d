"""The rows of an image table by study, and the contradictions between them."""

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
    """The row of one image.

    Attributes:
        number: From 1, without the header.
        study: The study id; empty if the row has none.
        file: The file name; empty if the row has none.
        image_id: The id of the image.
        view: The view.
        texts: The cells of `TEXTS`.
        statuses: One entry for each finding column; None for an empty cell.
        stored: The image itself, if it is in the table.
        has_content: The image cell is neither empty nor a file name.
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
        """The name of the image in messages."""
        return self.file or row_name(self.number)

    @property
    def key(self) -> Hashable:
        """The key of its study: the study id, or its row number for a separate study."""
        return self.study or self.number

    @property
    def claim(self) -> Hashable:
        """Two rows may name one file if this is equal: the study id, or without one all texts and statuses."""
        return self.study or (self.texts, self.statuses)


@dataclass(slots=True)
class StudyRows:
    """A study with its rows.

    Attributes:
        id: The study id.
        rows: Its rows.
        findings: The finding columns of the table.
        is_of_several_patients: Rows of several patients have this id.
        texts: The texts on which all rows agree; empty if they do not.
        statuses: The findings on which all rows agree.
        differing: Names of texts and findings on which the rows do not agree.
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
            statuses = {status for row in self.rows if (status := row.statuses[place])}
            if len(statuses) > 1:
                self.differing.append(name)
            agreed += [(name, status) for status in statuses if len(statuses) == 1]
        self.statuses = tuple(agreed)


class TableRows:
    """The rows of a table, and its studies in the order in which they first appear.

    Attributes:
        all: All rows.
        studies: All studies.
        findings: The finding columns.
        notes: Assumptions that were needed to read the table.
        holds_images: Whether the images are in the table itself.
    """

    def __init__(self, path: Path, wanted: Mapping[str, str], is_file_name: Callable[[str], bool]) -> None:
        """Read all cells except images; `is_file_name` recognises file names. Raises the errors of `TableSource`."""
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
        if self.holds_images:  # a name of several images identifies none of them
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
            self._row(number, dict(zip(fields, row, strict=False)), study, file, row_statuses)
            for number, (row, study, file, row_statuses) in enumerate(
                zip(cells, ids, files, statuses, strict=True), start=1
            )
            if file or any(row) or self.holds_images  # spreadsheets often end with empty rows
        ]
        self.studies = self._by_study()

    def pieces(self) -> Iterator[tuple[StudyRows, list[TableRow]]]:
        """Each study with its rows. With images in the table, each run of rows of a study, to read them in order."""
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
    """The name of a row without a file, for messages."""
    return f"row {number}"


def _shared_ids(ids: Sequence[str], patients: Sequence[str]) -> frozenset[str]:
    """Study ids with rows of several patients."""
    patient_of: dict[str, str] = {}
    pairs = zip(ids, as_whole_numbers(patients), strict=True)
    return frozenset(id for id, patient in pairs if id and patient and patient_of.setdefault(id, patient) != patient)


def _notes_on_ids(given: Sequence[str], ids: Sequence[str]) -> list[str]:
    count = sum(bool(before and not after) for before, after in zip(given, ids, strict=True))
    what = "a study id that is none (a dummy such as ANON, a negative or a rounded number)"
    return [f"rows with {what} are separate studies: {count}"] if count else []


def _notes_on_terms(cells: Sequence[str]) -> list[str]:
    count = sum(map(is_mapping, cells))
    return (
        [f"label cells with mappings, such as JSON, were not read; give each finding a column: {count}"]
        if count
        else []
    )


def _has_other_codes(cells: Sequence[str]) -> bool:
    """Whether a column has codes 0 to 3, as from CheXbert (0 blank, 1 present, 2 absent, 3 uncertain), or grades."""
    codes = {*as_whole_numbers(cells)} - {""}
    return codes <= {*"0123"} and not codes <= {*"01"}


def _read_findings(
    table: CellTable, columns: TableColumns, cells: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], list[str]]:
    """The findings whose columns are read, and notes."""
    read: dict[str, str] = {}
    notes: list[str] = []
    coded = [name for name in columns.found if _has_other_codes(cells[name])]
    if coded:
        reason = "because they contain 2 or 3, and then 0 and 1 may have another meaning"
        notes.append(f"columns with names of findings were not read, {reason}: {', '.join(coded)}")
    for name in cells:
        given = [cell for cell in cells[name] if cell]
        unreadable = sum(read_status(cell) is None for cell in given)
        if name in columns.named:
            if unreadable:
                notes.append(f"{unreadable} cells of the column for {name} are not 1, 0 or -1 and were not read")
        elif not given or coded:
            continue
        elif unreadable:
            notes.append(
                f"the column {name!r} has the name of a finding, but cells other than 1, 0 and -1; it was not read"
            )
            continue
        head = (find_term(name) or [name])[0]
        if head in read:
            raise table.ambiguous([columns.found.get(read[head], read[head]), columns.found.get(name, name)])
        read[head] = name
    if found := [name for name in read.values() if name in columns.found]:
        notes.append(f"labels were read from the columns {', '.join(found)}")
    return tuple(read.values()), notes
