"""Reads images from a column of a Parquet table, in the order of its rows, with little memory."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path

from archives.tables.parquet import Images, open_parquet
from retrieval.errors import ImageTooLarge, MissingFile, SourceError
from retrieval.imaging.decode import LIMIT_BYTES

_BATCH = 4  # rows decoded at once
# Rows kept after they were passed: one of several readers may read row 7 before another reads row 5.
_KEPT = 48
_KEPT_BYTES = 256 << 20
_LARGE_GROUP = (
    1 << 30
)  # bytes; pyarrow writes pages of 1,024 images and needs about twice the size of a page to decode it

Rows = Generator[tuple[int, bytes | None], None, None]


class ImageColumn:
    """The images of one column; safe from several threads, and fast if rows are read in order.

    Rows are decoded page by page and dropped after reading. `notes` mention large pages.
    """

    def __init__(self, table: Path, column: str, images: Images) -> None:
        """`images` is the result of `ParquetTable.images_in` for the column."""
        self.table = table
        self.column = column
        self._leaf = f"{column}.bytes" if images == "struct" else column
        self._is_struct = images == "struct"
        self._lock = threading.Lock()
        self._rows: Rows | None = None
        self._next = 0
        self._kept: dict[int, bytes | None] = {}
        self._damaged: tuple[range, SourceError] | None = None
        with open_parquet(table) as file:
            groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        sizes = [group.num_rows for group in groups]
        largest = max((group.total_byte_size for group in groups), default=0)
        self.notes: tuple[str, ...] = ()
        if largest > _LARGE_GROUP:
            self.notes = (
                f"{table.name} has row groups of {largest >> 20:,} MB; their pages are read as a whole. Written with "
                "row_group_size=100 it needs less memory",
            )
        self._groups = [range(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]

    def read(self, row: int) -> bytes | None:
        """The bytes of row `row`, from 0; None for a null.

        Raises:
            SourceError: the file is damaged at this row.
        """
        with self._lock:
            if row not in self._kept:
                self._find(row)
            return self._kept.pop(row)

    def _find(self, row: int) -> None:
        if self._damaged and row in self._damaged[0]:
            raise self._damaged[1]
        group = next(number for number, rows in enumerate(self._groups) if row in rows)
        # Reading on is cheaper than a new start, unless whole row groups can be skipped.
        if self._rows is None or row < self._next or self._groups[group].start > self._next:
            self._start(group)
        assert self._rows is not None
        try:
            for number, data in self._rows:
                self._next = number + 1
                self._kept[number] = data
                self._drop_passed_rows(but=row)
                if number == row:
                    return
        except SourceError as error:
            self._rows = None
            self._damaged = (range(self._next, self._groups[group].stop), error)
            raise
        self._rows = None
        raise SourceError(f"the table {self.table} ends before its row {row + 1}; was it changed during the run?")

    def _start(self, group: int) -> None:
        if self._rows:
            self._rows.close()
        self._next = self._groups[group].start
        self._rows = self._decode(group)

    def _decode(self, group: int) -> Rows:
        with open_parquet(self.table) as file:
            for number, rows in enumerate(self._groups[group:], start=group):
                batches = file.iter_batches(_BATCH, row_groups=[number], columns=[self._leaf])
                cells = chain.from_iterable(batch.column(0) for batch in batches)
                for row, cell in zip(rows, cells, strict=True):
                    value = cell["bytes"] if self._is_struct and cell.is_valid else cell
                    yield row, value.as_py() if value.is_valid else None

    def _drop_passed_rows(self, *, but: int) -> None:
        size = sum(len(data or b"") for data in self._kept.values())
        for number in list(self._kept):
            if number == but or (len(self._kept) <= _KEPT and size <= _KEPT_BYTES):
                return
            size -= len(self._kept.pop(number) or b"")


@dataclass(frozen=True, slots=True)
class CellImage:
    """The image in one row of a column (`retrieval.records.StoredImage`)."""

    images: ImageColumn
    row: int
    name: str

    @property
    def location(self) -> str:
        """Table, column and row, as recorded in the ledger."""
        return f"{self.images.table}#{self.images.column}/{self.row + 1}"

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            MissingFile: the cell is empty. ImageTooLarge: it has too many bytes. SourceError: the table is damaged.
        """
        data = self.images.read(self.row)
        if data is None:
            raise MissingFile(f"{self.name} has no image; its cell in {self.images.column!r} is empty")
        if len(data) > LIMIT_BYTES:
            raise ImageTooLarge(f"{self.name} has {len(data):,} bytes; at most {LIMIT_BYTES:,} are accepted")
        return data
