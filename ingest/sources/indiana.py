"""The Indiana University collection (Open-i): two tables and a folder of images, and any archive laid out like it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import MissingColumn, MissingFile, PathOutside, RetrievalError, SourceError
from retrieval.records import ImageRecord, Quarantined, Report, Study, View

if TYPE_CHECKING:
    from pandas import DataFrame

REPORT_COLUMNS = ("uid", "MeSH", "Problems", "indication", "comparison", "findings", "impression")
PROJECTION_COLUMNS = ("uid", "filename", "projection")
SPLIT_COLUMNS = ("uid", "split")

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
    empty one; reports without images are not studies that can be shown, and are left out. `XXXX` for removed words
    stays, as readers of this collection know it.
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
        self._images_dir = images_dir
        self._uids = None if uids is None else frozenset(uids)
        # Everything that makes the whole archive unusable shows here, before any work has begun.
        self._rows = self._read_rows()
        self._studies, self._duplicate_reports = self._read_reports()
        if not images_dir.is_dir():
            raise SourceError(
                f"the images folder {images_dir} does not exist; give the folder that holds the image files"
            )

    def image_count(self) -> int:
        """Rows of the projections table, those that will be quarantined included."""
        return len(self._rows)

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
                claimed.add(row.filename)
                try:
                    images.append(ImageRecord(row.filename, self._locate(row.filename), row.view))
                except RetrievalError as error:
                    yield Quarantined.because(row.filename, error)
            if images:
                yield self._study(uid, tuple(images))

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
        return Study(uid, self.dataset, images, report, mesh=cells["MeSH"], problems=cells["Problems"])

    def _rows_by_study(self) -> dict[str, list[_Row]]:
        studies: dict[str, list[_Row]] = {}
        for row in self._rows:
            studies.setdefault(row.uid, []).append(row)
        return studies

    def _locate(self, filename: str) -> Path:
        """The path of an image inside the images folder.

        Raises:
            PathOutside: the name leads out of the folder, by `..`, as an absolute path or through a link.
            MissingFile: there is no such file.
        """
        if filename in self._plain_files:
            return self._images_dir / filename
        # Not a plain file directly in the folder: a link, a subfolder, a way out, or nothing. Resolve it with care.
        inside = self._images_dir.resolve()
        try:
            resolved = (inside / filename).resolve()
            found = resolved.is_file()
        except (OSError, ValueError, RuntimeError):  # a name too long, a NUL byte, a circle of links
            raise MissingFile(f"no file can have the name {filename[:80]!r}") from None
        if not resolved.is_relative_to(inside):
            raise PathOutside(
                f"{filename!r} in {self._projections_csv} leads outside the images folder {self._images_dir}"
            )
        if not found:
            raise MissingFile(f"no file {filename!r} in {self._images_dir}")
        return resolved

    @cached_property
    def _plain_files(self) -> frozenset[str]:
        """Names of the regular files directly in the images folder: one listing instead of a stat per row."""
        with os.scandir(self._images_dir) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

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


def read_split(path: Path, split: str) -> set[str]:
    """Uids of one split from a table with the columns `uid` and `split`.

    Raises:
        SourceError: the table cannot be read, or has no such split; the message lists those it has.
        MissingColumn: it lacks a column.
    """
    table = read_table(path, SPLIT_COLUMNS)
    names = table["split"].str.strip()
    uids = set(table["uid"].str.strip()[names == split])
    if not uids:
        listing = ", ".join(sorted(set(names))) or "none"
        raise SourceError(f"{path} has no split {split!r}; it has: {listing}")
    return uids


def read_table(path: Path, columns: tuple[str, ...]) -> DataFrame:
    """A CSV file in UTF-8, every cell a string, empty cells empty.

    Raises:
        SourceError: the file is missing, not UTF-8 or not a table.
        MissingColumn: one of `columns` is not among its columns.
    """
    import pandas as pd  # takes half a second to import, which `cxr --help` should not

    try:
        with warnings.catch_warnings():
            # Of rows longer than the header pandas would make the first cell an index, or drop the last: both shift or
            # lose data.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except pd.errors.ParserWarning:
        raise SourceError(
            f"the rows of {path} have more cells than its header; is a delimiter at their ends?"
        ) from None
    except FileNotFoundError:
        raise SourceError(f"the table {path} does not exist") from None
    except OSError as error:
        raise SourceError(f"the table {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"the table {path} is not UTF-8 at byte {error.start}; save it as UTF-8 CSV") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise SourceError(f"the table {path} is not a CSV table with a header row: {error}") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise MissingColumn(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"expected {', '.join(columns)}; found {', '.join(map(str, table.columns))}"
        )
    return table.fillna("")
