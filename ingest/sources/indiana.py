"""The Indiana University collection (Open-i): two tables and a folder of images, and any archive laid out like it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ingest.sources.cells import read_table
from ingest.sources.files import ImagesFolder
from ingest.sources.sections import split_report
from retrieval.errors import RetrievalError
from retrieval.records import ImageRecord, Quarantined, Report, Study, View

REPORT_COLUMNS = ("uid", "MeSH", "Problems", "indication", "comparison", "findings", "impression")
PROJECTION_COLUMNS = ("uid", "filename", "projection")

_VIEWS: dict[str, View] = {"frontal": "frontal", "lateral": "lateral"}
_DUPLICATE = "duplicate_id"


@dataclass(frozen=True, slots=True)
class _Row:
    """One projection: which study, which file, which view."""

    uid: str
    filename: str
    view: View


class IndianaSource:
    """Reads the archive study by study, in the order of the projections table.

    A row that cannot be used comes out as `Quarantined` (`missing_file`, `path_outside`, `duplicate_id`) and the rest
    of its study stands; a study left without images does not come out. Images without a report make a study with an
    empty one; reports without images are not studies that can be shown, and are left out. Files in the images folder
    that no row names come last, as `unlisted_file`, unless the source is restricted to some uids. `XXXX` for removed
    words stays, as readers of this collection know it.
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
            MissingColumn: a table lacks a column.
        """
        self.dataset = dataset
        self._reports_csv = reports_csv
        self._projections_csv = projections_csv
        self._uids = None if uids is None else frozenset(uids)
        # Everything that makes the whole archive unusable shows here, before any work has begun.
        self._rows = self._read_rows()
        self._studies, self._duplicate_reports = self._read_reports()
        self._folder = ImagesFolder(images_dir)

    def image_count(self) -> int:
        """Rows of the projections table, second reports of a uid, and files that no row names."""
        return len(self._rows) + len(self._duplicate_reports) + len(self._unlisted)

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._duplicate_reports
        claimed: set[str] = set()
        for uid, rows in self._rows_by_study().items():
            images: list[ImageRecord] = []
            for row in rows:
                if row.filename in claimed:
                    yield Quarantined(
                        row.filename,
                        _DUPLICATE,
                        f"{row.filename} stands in more than one row of {self._projections_csv}",
                    )
                    continue
                try:
                    images.append(ImageRecord(row.filename, self._folder.locate(row.filename), row.view))
                except RetrievalError as error:
                    yield Quarantined.because(row.filename, error)
                else:
                    claimed.add(row.filename)
            if images:
                yield self._study(uid, tuple(images))
        yield from self._unlisted

    def _study(self, uid: str, images: tuple[ImageRecord, ...]) -> Study:
        cells = self._studies.get(uid)
        if cells is None:
            return Study(uid, self.dataset, images)
        report = Report(
            findings=cells["findings"],
            impression=cells["impression"],
            indication=cells["indication"],
            comparison=cells["comparison"],
        )
        return Study(uid, self.dataset, images, split_report(report), mesh=cells["MeSH"], problems=cells["Problems"])

    def _rows_by_study(self) -> dict[str, list[_Row]]:
        studies: dict[str, list[_Row]] = {}
        for row in self._rows:
            studies.setdefault(row.uid, []).append(row)
        return studies

    @cached_property
    def _unlisted(self) -> list[Quarantined]:
        if self._uids is not None:
            return []
        tables = (self._reports_csv, self._projections_csv)
        return self._folder.unlisted(
            [*(row.filename for row in self._rows), *(str(each.absolute()) for each in tables)]
        )

    def _read_rows(self) -> list[_Row]:
        table = read_table(self._projections_csv, PROJECTION_COLUMNS)
        rows = [
            _Row(uid.strip(), filename.strip(), _VIEWS.get(projection.strip().lower(), "unknown"))
            for uid, filename, projection in table[list(PROJECTION_COLUMNS)].itertuples(index=False, name=None)
        ]
        return [row for row in rows if self._uids is None or row.uid in self._uids]

    def _read_reports(self) -> tuple[dict[str, dict[str, str]], list[Quarantined]]:
        """Cells of the reports by uid, the first row of a uid standing, and the rows that did not stand."""
        table = read_table(self._reports_csv, REPORT_COLUMNS)
        studies: dict[str, dict[str, str]] = {}
        duplicates: list[Quarantined] = []
        for values in table[list(REPORT_COLUMNS)].itertuples(index=False, name=None):
            cells = {name: value.strip() for name, value in zip(REPORT_COLUMNS, values, strict=True)}
            uid = cells["uid"]
            if self._uids is not None and uid not in self._uids:
                continue
            if uid in studies:
                detail = f"uid {uid} stands in more than one row of {self._reports_csv}; the first is used"
                duplicates.append(Quarantined(f"uid {uid}", _DUPLICATE, detail))
            else:
                studies[uid] = cells
        return studies, duplicates
