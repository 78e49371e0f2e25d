"""A table with one row for each image: CSV, TSV or Parquet, with any column names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from itertools import chain
from pathlib import Path

from archives.file_tree import FileTree
from archives.report_sections import split_report
from archives.tables.conflicting_rows import FileClaim, FileClaims, several_patients
from archives.tables.rows import StudyRows, TableRow, TableRows
from retrieval.errors import MissingFile, RetrievalError
from retrieval.records import ImageRecord, Quarantined, Report, Study


class TableSource:
    """Reads a table study by study, in the order in which the studies first appear. Rows of a study may be scattered.

    Columns:

    - `image`: a file, as a path relative to the images folder or as an absolute path inside it; in Parquet also the image
      itself.
    - `study_id`: without one, a row is a separate study.
    - `image_id`: without this column, it is the path of the file as written.
    - `findings`, `impression`, `indication`, `comparison`: headings in findings and impression are split into sections.
    - `report`: the whole report, used as findings if there is no column `findings`.
    - `mesh`, `problems`, `labels`: terms (`retrieval.labels.column_terms`).
    - `study_date`: an ISO date such as `2024-01-31`; a time after it is ignored.
    - A column with the name of a finding: 1, 0 or -1.

    Images inside a Parquet table come in the order of its rows, so one study may come in several pieces. If several rows
    have one image id and different files, the worker indexes the first readable file.

    Quarantined, by code; the other images of the study are kept:

    - `missing_file`, `path_outside`, `duplicate_id`: a row whose file cannot be used, or is named by an earlier row.
    - `conflicting_study`: a file that rows of several studies name, or a study id that rows of several patients have.
    - `conflicting_report`: rows of a study with different texts; this text is not used.
    - `bad_date`: a date that cannot be read; the study has no date.
    - `unlisted_file`: a file in the images folder that no row names, if the images have a separate folder.
    """

    def __init__(self, table: Path, *, images_dir: Path | None, columns: Mapping[str, str], dataset: str) -> None:
        """Open the table.

        Args:
            table: A CSV, TSV or Parquet file.
            images_dir: The folder of the images; None for the folder of the table, which may contain other files.
            columns: Column of the table by field or finding. Columns with the name of a field or finding, in any case, need
                no entry.
            dataset: The name of the archive.

        Raises:
            SourceError: the table or the images folder is missing or cannot be read, or two columns are for one field.
            MissingColumn: the table has no column that `columns` names, or no column for the image.
            InvalidRequest: `columns` has an unknown field, or both `findings` and `report`.
            MissingExtra: the table is Parquet, and the extra `parquet` is not installed.
        """
        self.dataset = dataset
        self._table = table
        self._folder = FileTree(table.parent if images_dir is None else images_dir)
        self._rows = TableRows(table, columns, self._folder.is_name)
        self._lists_files = images_dir is not None and not self._rows.holds_images
        self._bad_studies = [*self._conflicting_reports(), *self._bad_dates()]

    def image_count(self) -> int:
        """Rows, plus quarantined studies and files that no row names."""
        return len(self._rows.all) + len(self._bad_studies) + len(self._unlisted)

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._bad_studies
        claims = FileClaims(self._table, map(self._claim, self._rows.all))
        for study, rows in self._rows.pieces():
            images: list[ImageRecord] = []
            for row in rows:
                if study.is_of_several_patients:
                    yield several_patients(row.name, self._table)
                    continue
                if conflict := claims.find_conflict(row.number, row.name):
                    yield conflict
                    continue
                try:
                    images.append(self._image(row))
                except RetrievalError as error:
                    yield Quarantined.because(row.name, error)
                else:
                    claims.assign(row.number)
            if images:
                yield self._study(study, tuple(images))
        yield from self._unlisted

    def _claim(self, row: TableRow) -> FileClaim:
        is_file = row.file and not row.stored
        return FileClaim(row.number, self._folder.identity(row.file) if is_file else "", row.claim)

    def _image(self, row: TableRow) -> ImageRecord:
        file = "" if row.name == row.image_id else row.name
        if row.stored:
            return ImageRecord(row.image_id, self._table, row.view, file=file, stored=row.stored)
        if not row.file:
            what = "has no file name in its image column" if row.has_content else "names no file"
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

    def _conflicting_reports(self) -> Iterator[Quarantined]:
        for study in self._rows.studies:
            if study.differing and not study.is_of_several_patients:
                detail = (
                    f"rows of this study in {self._table} differ in {', '.join(study.differing)}; none is used, because any "
                    "may be wrong"
                )
                yield Quarantined(f"study {study.id}", "conflicting_report", detail)

    def _bad_dates(self) -> Iterator[Quarantined]:
        for study in self._rows.studies:
            day = study.texts[-1]
            if day and not _iso_day(day):
                detail = f"its date in {self._table} is not an ISO date such as 2024-01-31; the study has no date"
                yield Quarantined(f"study {study.id}", "bad_date", detail)

    @cached_property
    def _unlisted(self) -> list[Quarantined]:
        if not self._lists_files:
            return []
        named = (row.file for row in self._rows.all if row.file)
        return self._folder.unlisted(chain(named, [str(self._table.absolute())]))


def _iso_day(text: str) -> str:
    """The day of an ISO date or time; the empty string for any other text."""
    try:
        return datetime.fromisoformat(text.strip()).date().isoformat()
    except ValueError:
        return ""
