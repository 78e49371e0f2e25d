"""A table with one row for each image: CSV, TSV or Parquet, with whatever column names it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from ingest.sources.cells import CellTable
from ingest.sources.files import ImagesFolder
from ingest.sources.sections import split_report
from ingest.sources.views import read_view
from retrieval.errors import InvalidRequest, MissingColumn, MissingFile, RetrievalError, SourceError
from retrieval.records import ImageRecord, Quarantined, Report, Study, View

# What a study says, in every row of it or in one.
_TEXTS = ("findings", "impression", "indication", "comparison", "mesh", "problems", "study_date")
FIELDS = ("image", "study_id", "image_id", "view", *_TEXTS, "report")


@dataclass(frozen=True, slots=True)
class _Row:
    """One image: the number of its row (from 1, the header not counted), its file, its view, what its cells say."""

    number: int
    file: str
    image_id: str
    view: View
    texts: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.file or _row_name(self.number)


class TableSource:
    """Reads a table study by study, in the order in which the studies first appear; their rows may stand anywhere.

    `image` names a file, relative to the images folder or absolute and inside it. A row without `study_id` is a study
    of its own; `image_id` is the file as it is written unless there is such a column. A study has, of each text, the
    first that a row of it gives; rows that say something else are reported as one `conflicting_report` for the study
    and change nothing. `report`, the whole report in one column, is taken for findings where there is no column
    `findings`. Headings in findings and impression split the text into the four sections. `mesh` and `problems` are
    terms with `;` between them. `study_date` is an ISO date (`2024-01-31`, a time after it is left out); what is none is
    reported as `bad_date`, and the study has no date.

    A row that cannot be used comes out as `Quarantined` (`missing_file`, `path_outside`, `duplicate_id`) and the rest
    of its study stands. Rows with one image id and different files are images of one id: the worker indexes the first
    that it can read. With an images folder of its own, the files in it that no row names come last, as
    `unlisted_file`.
    """

    def __init__(self, table: Path, *, images_dir: Path | None, columns: Mapping[str, str], dataset: str) -> None:
        """Open the table.

        Args:
            table: A CSV, TSV or Parquet file.
            images_dir: The folder of the images; None for the table's own, in which other files may lie.
            columns: Column of the table by field; a column that has a field's name, in any case, needs no mention.
            dataset: The name of the archive.

        Raises:
            SourceError: the table or the images folder is missing or cannot be read.
            MissingColumn: the table lacks a column that `columns` names, or any for the image.
            InvalidRequest: `columns` has an unknown field, or both `findings` and `report`.
            MissingExtra: the table is Parquet, and the extra `parquet` is not installed.
        """
        self.dataset = dataset
        self._table = table
        self._folder = ImagesFolder(table.parent if images_dir is None else images_dir)
        self._owns_folder = images_dir is not None
        self._studies = self._read_studies(columns)
        self._notes = [
            found
            for look in (self._conflict, self._bad_date)
            for study in self._studies.items()
            if (found := look(*study))
        ]

    def image_count(self) -> int:
        """Rows, studies whose rows contradict each other or have no good date, and files that no row names."""
        return sum(map(len, self._studies.values())) + len(self._notes) + len(self._unlisted)

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._notes
        files: set[str] = set()
        for study_id, rows in self._studies.items():
            images: list[ImageRecord] = []
            for row in rows:
                if row.file in files:
                    detail = f"{row.file} stands in more than one row of {self._table}; the first is used"
                    yield Quarantined(row.name, "duplicate_id", detail)
                    continue
                try:
                    images.append(self._image(row))
                except RetrievalError as error:
                    yield Quarantined.because(row.name, error)
                else:
                    files.add(row.name)
            if images:
                yield self._study(study_id, tuple(images), rows)
        yield from self._unlisted

    def _image(self, row: _Row) -> ImageRecord:
        if not row.file:
            raise MissingFile(f"row {row.number} of {self._table} names no file")
        path = self._folder.locate(row.file)
        return ImageRecord(row.image_id, path, row.view, file="" if row.file == row.image_id else row.file)

    def _study(self, study_id: str, images: tuple[ImageRecord, ...], rows: list[_Row]) -> Study:
        *sections, mesh, problems, day = _first_texts(rows)
        report = split_report(Report(*sections))
        return Study(study_id, self.dataset, images, report, mesh=mesh, problems=problems, date=_iso_day(day))

    def _conflict(self, study_id: str, rows: list[_Row]) -> Quarantined | None:
        fields = [
            name
            for name, texts in zip(_TEXTS, zip(*(row.texts for row in rows), strict=True), strict=True)
            if len({" ".join(text.split()) for text in texts if text}) > 1
        ]
        if not fields:
            return None
        detail = f"rows of this study in {self._table} differ in {', '.join(fields)}; the first text of each is used"
        return Quarantined(f"study {study_id}", "conflicting_report", detail)

    def _bad_date(self, study_id: str, rows: list[_Row]) -> Quarantined | None:
        day = _first_texts(rows)[-1]
        if not day or _iso_day(day):
            return None
        detail = f"{self._table} says {day[:40]!r} where a date such as 2024-01-31 belongs; the study has none now"
        return Quarantined(f"study {study_id}", "bad_date", detail)

    @cached_property
    def _unlisted(self) -> list[Quarantined]:
        if not self._owns_folder:
            return []
        named = [row.file for rows in self._studies.values() for row in rows]
        return self._folder.unlisted([*named, str(self._table.absolute())])

    def _read_studies(self, columns: Mapping[str, str]) -> dict[str, list[_Row]]:
        table = CellTable(self._table)
        found = _find_columns(table, columns)
        studies: dict[str, list[_Row]] = {}
        for number, values in enumerate(table.rows(list(found.values())), start=1):
            cells = dict.fromkeys(FIELDS, "") | dict(zip(found, values, strict=True))
            if "findings" not in found:
                cells["findings"] = cells["report"]
            file = cells["image"]
            image_id = cells["image_id"] or file or _row_name(number)
            row = _Row(number, file, image_id, read_view(cells["view"]), tuple(cells[name] for name in _TEXTS))
            studies.setdefault(cells["study_id"] or image_id, []).append(row)
        return studies


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """`["image=path", "study_id=case"]` as a mapping from field to column.

    Raises:
        InvalidRequest: a pair is not of this form, or names an unknown field or one that was named before.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        field, _, column = (part.strip() for part in pair.partition("="))
        if not field or not column:
            raise InvalidRequest(f"--column takes FIELD=COLUMN, as in image=path, found {pair!r}")
        if field in columns:
            raise InvalidRequest(f"--column names the field {field} twice: {columns[field]!r} and {column!r}")
        columns[field] = column
    _require_known(columns)
    return columns


def _first_texts(rows: list[_Row]) -> list[str]:
    """Of each of `_TEXTS` the first that a row gives."""
    return [next(filter(None, texts), "") for texts in zip(*(row.texts for row in rows), strict=True)]


def _iso_day(text: str) -> str:
    """The day of an ISO date or time; the empty string for anything else."""
    try:
        return datetime.fromisoformat(text.strip()).date().isoformat()
    except ValueError:
        return ""


def _row_name(number: int) -> str:
    return f"row {number}"


def _require_known(columns: Mapping[str, str]) -> None:
    if unknown := [field for field in columns if field not in FIELDS]:
        raise InvalidRequest(f"there is no field {', '.join(map(repr, unknown))} to map; fields: {', '.join(FIELDS)}")


def _find_columns(table: CellTable, wanted: Mapping[str, str]) -> dict[str, str]:
    """The column of each field that the table has: those `wanted`, and those of its own name that nothing else takes."""
    _require_known(wanted)
    columns: dict[str, str] = {}
    for field, name in wanted.items():
        if not (column := _find_column(table, name)):
            raise MissingColumn(f"{table.path} has no column {name!r}; found {', '.join(table.columns)}")
        columns[field] = column
    for field in FIELDS:
        if field not in columns and (column := _find_column(table, field)) and column not in columns.values():
            columns[field] = column
    if "image" not in columns:
        raise MissingColumn(
            f"{table.path} has no column `image`; say which one names the files: --column image=COLUMN; "
            f"found {', '.join(table.columns)}"
        )
    if "report" in wanted and "findings" in columns:
        raise InvalidRequest(
            f"{table.path} has findings in {columns['findings']!r}: a whole report is only read where there are none; "
            "leave out --column report, or give findings=COLUMN instead"
        )
    return columns


def _find_column(table: CellTable, name: str) -> str | None:
    """The column called `name`, exactly or else in another case; None if there is none."""
    if name in table.columns:
        return name
    alike = [column for column in table.columns if column.strip().lower() == name.lower()]
    if len(alike) > 1:
        raise SourceError(
            f"{table.path} has the columns {' and '.join(map(repr, alike))}; --column says which is meant"
        )
    return alike[0] if alike else None
