"""A table with one row for each image: CSV, TSV or Parquet, with whatever column names it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from itertools import chain
from pathlib import Path

from archives.file_tree import FileTree
from archives.report_sections import split_report
from archives.tables.conflicting_rows import claimed_by_several, conflicting_study, several_patients
from archives.tables.rows import StudyRows, TableRow, TableRows
from retrieval.errors import MissingFile, RetrievalError
from retrieval.records import ImageRecord, Quarantined, Report, Study


class TableSource:
    """Reads a table study by study, in the order in which the studies first appear; their rows may stand anywhere.

    `image` names a file, relative to the images folder or absolute and inside it, or, in Parquet, holds the image itself. A
    row without `study_id` is a study of its own; `image_id` is the file as it is written unless there is such a column.
    Of each text of a study all rows that give it must say the same: one that differs is not used, which is reported as one
    `conflicting_report` for the study. `report`, the whole report in one column, is taken for findings where there is no
    column `findings`. Headings in findings and impression split the text into the four sections. `mesh`, `problems` and
    `labels` are terms (`retrieval.labels.column_terms`); a column with the name of a finding says of it 1, 0 or -1.
    `study_date` is an ISO date (`2024-01-31`; a time after it is left out). Anything else is reported as `bad_date`, and
    the study has no date.

    A row that cannot be used comes out as `Quarantined` (`missing_file`, `path_outside`, `duplicate_id`) and the rest
    of its study stands. A file in rows of several studies, by whatever names, belongs to none of them
    (`conflicting_study`), and neither does a file of a study id that rows of several patients have. Rows with one image id
    and different files are images of one id: the worker indexes the first that it can read. With an images folder of its
    own, the files in it that no row names come last, as `unlisted_file`. Images inside a Parquet table come in the order of
    its rows, so that a study may come out in several pieces.
    """

    def __init__(self, table: Path, *, images_dir: Path | None, columns: Mapping[str, str], dataset: str) -> None:
        """Open the table.

        Args:
            table: A CSV, TSV or Parquet file.
            images_dir: The folder of the images; None for the table's own, in which other files may lie.
            columns: Column of the table by field or finding; a column that has the name of one, in any case, needs no
                mention.
            dataset: The name of the archive.

        Raises:
            SourceError: the table or the images folder is missing or cannot be read, or two columns are for one field.
            MissingColumn: the table lacks a column that `columns` names, or any for the image.
            InvalidRequest: `columns` has an unknown field, or both `findings` and `report`.
            MissingExtra: the table is Parquet, and the extra `parquet` is not installed.
        """
        self.dataset = dataset
        self._table = table
        self._folder = FileTree(table.parent if images_dir is None else images_dir)
        self._rows = TableRows(table, columns, self._folder.is_name)
        self._lists_files = images_dir is not None and not self._rows.holds_images
        self._notes = [*self._conflicts(), *self._bad_dates()]

    def image_count(self) -> int:
        """Rows, studies whose rows contradict each other or have no good date, and files that no row names."""
        return len(self._rows.all) + len(self._notes) + len(self._unlisted)

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._notes
        files = {row.number: self._folder.identity(row.file) for row in self._rows.all if row.file and not row.stored}
        contested = claimed_by_several((row.claim, files.get(row.number, "")) for row in self._rows.all)
        claimed: set[str] = set()
        for study, rows in self._rows.pieces():
            images: list[ImageRecord] = []
            for row in rows:
                file = files.get(row.number, "")
                if study.is_of_several_patients:
                    yield several_patients(row.name, self._table)
                    continue
                if file in contested:
                    yield conflicting_study(row.name, self._table)
                    continue
                if file in claimed:
                    detail = f"{row.file} stands in more than one row of {self._table}; the first is used"
                    yield Quarantined(row.name, "duplicate_id", detail)
                    continue
                try:
                    images.append(self._image(row))
                except RetrievalError as error:
                    yield Quarantined.because(row.name, error)
                else:
                    claimed |= {file} - {""}
            if images:
                yield self._study(study, tuple(images))
        yield from self._unlisted

    def _image(self, row: TableRow) -> ImageRecord:
        file = "" if row.name == row.image_id else row.name
        if row.stored:
            return ImageRecord(row.image_id, self._table, row.view, file=file, stored=row.stored)
        if not row.file:
            what = "holds no file name in its column for images" if row.has_content else "names no file"
            raise MissingFile(f"row {row.number} of {self._table} {what}")
        return ImageRecord(row.image_id, self._folder.locate(row.file), row.view, file=file)

    def _study(self, study: StudyRows, images: tuple[ImageRecord, ...]) -> Study:
        findings, impression, indication, comparison, mesh, problems, day = study.texts
        return Study(
            study.id,
            self.dataset,
            images,
            split_report(Report(findings, impression, indication, comparison)),
            mesh=mesh,
            problems=problems,
            date=_iso_day(day),
            statuses=study.statuses,
            notes=self._rows.notes,
        )

    def _conflicts(self) -> Iterator[Quarantined]:
        for study in self._rows.studies:
            if study.differing and not study.is_of_several_patients:
                detail = (
                    f"rows of this study in {self._table} differ in {', '.join(study.differing)}; none of them is used, "
                    "since none can be told to be right"
                )
                yield Quarantined(f"study {study.id}", "conflicting_report", detail)

    def _bad_dates(self) -> Iterator[Quarantined]:
        for study in self._rows.studies:
            day = study.texts[-1]
            if day and not _iso_day(day):
                detail = f"{self._table} has no date such as 2024-01-31 for it; the study has none now"
                yield Quarantined(f"study {study.id}", "bad_date", detail)

    @cached_property
    def _unlisted(self) -> list[Quarantined]:
        if not self._lists_files:
            return []
        named = (row.file for row in self._rows.all if row.file)
        return self._folder.unlisted(chain(named, [str(self._table.absolute())]))


def _iso_day(text: str) -> str:
    """The day of an ISO date or time; the empty string for anything else."""
    try:
        return datetime.fromisoformat(text.strip()).date().isoformat()
    except ValueError:
        return ""
