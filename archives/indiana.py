"""The Indiana University collection (Open-i): two tables and a folder of images; also other archives in this layout."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from archives.file_tree import FileTree
from archives.report_sections import split_report
from archives.tables.cells import CellTable, as_ids, as_report_text
from archives.tables.conflicting_rows import FileClaim, FileClaims
from archives.views import read_view
from retrieval.errors import MissingFile, RetrievalError
from retrieval.records import ImageRecord, Quarantined, Report, Study, View

REPORT_COLUMNS = ("uid", "MeSH", "Problems", "indication", "comparison", "findings", "impression")
PROJECTION_COLUMNS = ("uid", "filename", "projection")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the projections table: its number (from 1, without the header), study (empty: unknown), file and view."""

    number: int
    uid: str
    filename: str
    view: View

    @property
    def name(self) -> str:
        return self.filename or f"row {self.number}"


class IndianaSource:
    """Reads the archive study by study, in the order of the projections table.

    A study without images is left out, and so is a report without images. Images without a report become a study with an
    empty report and a note. An image without a uid becomes a separate study without a report. `XXXX`, which replaces
    removed words in this collection, stays in the text.

    Quarantined, by code; the other images of the study are kept:

    - `missing_file`, `path_outside`, `duplicate_id`: a row whose file cannot be used, or is named by an earlier row.
    - `conflicting_study`: a file that rows of several uids name.
    - `conflicting_report`, `duplicate_id`: several reports with one uid; different ones are not used, equal ones once.
    - `row_without_file`: a report without a uid.
    - `unlisted_file`: a file in the images folder that no row names, unless the source is restricted to some uids.
    """

    def __init__(
        self,
        reports_csv: Path,
        projections_csv: Path,
        images_dir: Path,
        *,
        dataset: str = "indiana",
        uids: Collection[str] | None = None,
    ) -> None:
        """Open the archive; `uids` restricts it to these studies.

        Raises:
            SourceError: a table or the images folder is missing or cannot be read.
            MissingColumn: a table has not all columns.
        """
        self.dataset = dataset
        self._reports_csv = reports_csv
        self._projections_csv = projections_csv
        self._uids = None if uids is None else frozenset(uids)
        # Errors of the archive as a whole are raised here, before any work begins.
        self._folder = FileTree(images_dir)
        self._rows = self._read_rows()
        self._studies, self._bad_reports = self._read_reports()

    def image_count(self) -> int:
        """Rows of the projections table, plus unused rows of the reports table and files that no row names."""
        return len(self._rows) + len(self._bad_reports) + len(self._unlisted)

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._bad_reports
        claims = FileClaims(self._projections_csv, map(self._claim, self._rows))
        for rows in self._rows_by_study():
            images: list[ImageRecord] = []
            for row in rows:
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
                yield self._study(rows[0].uid or images[0].image_id, bool(rows[0].uid), tuple(images))
        yield from self._unlisted

    def _claim(self, row: _Row) -> FileClaim:
        file = self._folder.identity(row.filename) if row.filename else ""
        return FileClaim(row.number, file, row.uid or row.number)

    def _image(self, row: _Row) -> ImageRecord:
        if not row.filename:
            raise MissingFile(f"row {row.number} of {self._projections_csv} names no file")
        return ImageRecord(row.filename, self._folder.locate(row.filename), row.view)

    def _study(self, study_id: str, has_uid: bool, images: tuple[ImageRecord, ...]) -> Study:
        if not has_uid:
            note = f"no uid, or a dummy value, in {self._projections_csv.name}: a separate study without a report"
            return Study(study_id, self.dataset, images, notes=(note,))
        cells = self._studies.get(study_id)
        if cells is None:
            note = f"no report in {self._reports_csv.name} has the uid of this study"
            return Study(study_id, self.dataset, images, notes=(note,))
        report = Report(
            findings=as_report_text(cells["findings"]),
            impression=as_report_text(cells["impression"]),
            indication=cells["indication"],
            comparison=cells["comparison"],
        )
        return Study(
            study_id, self.dataset, images, split_report(report), mesh=cells["MeSH"], problems=cells["Problems"]
        )

    def _rows_by_study(self) -> Iterable[list[_Row]]:
        studies: dict[str | int, list[_Row]] = {}
        for row in self._rows:
            studies.setdefault(row.uid or row.number, []).append(row)
        return studies.values()

    @cached_property
    def _unlisted(self) -> list[Quarantined]:
        if self._uids is not None:
            return []
        tables = (self._reports_csv, self._projections_csv)
        return self._folder.unlisted(
            [*(row.filename for row in self._rows), *(str(each.absolute()) for each in tables)]
        )

    def _read_rows(self) -> list[_Row]:
        rows = [
            # Text that is no file name (image bytes, a report) must not appear in messages.
            _Row(number, uid, filename if self._folder.is_name(filename) else "", read_view(projection))
            for number, (uid, filename, projection) in enumerate(_cells(self._projections_csv, PROJECTION_COLUMNS), 1)
            if uid or filename
        ]
        return [row for row in rows if self._uids is None or row.uid in self._uids]

    def _read_reports(self) -> tuple[dict[str, dict[str, str]], list[Quarantined]]:
        """The cells of the reports by uid, and the rows that are not used."""
        rows: dict[str, list[dict[str, str]]] = {}
        bad: list[Quarantined] = []
        for number, values in enumerate(_cells(self._reports_csv, REPORT_COLUMNS), start=1):
            cells = dict(zip(REPORT_COLUMNS, values, strict=True))
            uid = cells["uid"]
            if uid:
                rows.setdefault(uid, []).append(cells)
            elif any(values) and self._uids is None:
                name = f"{self._reports_csv.name} row {number}"
                detail = f"{name} has no uid, or a dummy value, so its report belongs to no image"
                bad.append(Quarantined(name, "row_without_file", detail))
        studies: dict[str, dict[str, str]] = {}
        for uid, found in rows.items():
            if self._uids is not None and uid not in self._uids:
                continue
            if len(found) == 1 or all(cells == found[0] for cells in found):
                studies[uid] = found[0]
            if len(found) > 1:
                bad.append(self._repeated(uid, len(found), differ=uid not in studies))
        return studies, bad

    def _repeated(self, uid: str, count: int, *, differ: bool) -> Quarantined:
        what = f"{count} rows of {self._reports_csv} have the uid {uid}"
        if differ:
            detail = f"{what} and differ; none is used, because any may be wrong"
            return Quarantined(f"uid {uid}", "conflicting_report", detail)
        return Quarantined(f"uid {uid}", "duplicate_id", f"{what} and the same content; it is used once")


def _cells(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The cells of the columns `names`, row by row; the first column is an id."""
    table = CellTable(path, lambda name: name.casefold() == names[0].casefold())
    table.require(*names)
    rows = list(table.rows([table.find(name) or name for name in names]))
    return ((key, *row[1:]) for key, row in zip(as_ids([row[0] for row in rows]), rows, strict=True))
