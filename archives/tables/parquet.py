"""Reads Parquet tables: their cells, and the images in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import MissingExtra, RetrievalError, SourceError

SUFFIXES = {".parquet", ".pq"}
_MAGIC = b"PAR1"
_ROWS = 1024  # decoded at once

Images = Literal["bytes", "struct", "paths"]


def is_parquet(path: Path) -> bool:
    """Whether `path` is a Parquet file, by its suffix or first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False  # reading it as CSV will report the error


class ParquetTable:
    """The rows of a Parquet file, and the images in it."""

    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        """Read the schema.

        Raises:
            SourceError: the file is missing or not Parquet.
            MissingExtra: the extra `parquet` is not installed.
        """
        self._path = path
        if not path.is_file():
            raise SourceError(f"the table {path} does not exist")
        with open_parquet(self._path) as file:
            self._schema = file.schema_arrow
        self.columns: list[str] = [str(name) for name in self._schema.names]

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The cells of `columns`, row by row; other columns are not read.

        Raises:
            SourceError: the file is damaged.
        """
        wanted = list(dict.fromkeys(columns))
        with open_parquet(self._path) as file:
            if not wanted:
                yield from repeat((), file.metadata.num_rows)
                return
            for batch in file.iter_batches(_ROWS, columns=wanted):
                cells = {name: batch.column(name).to_pylist() for name in wanted}
                yield from zip(*(cells[name] for name in columns), strict=True)

    def images_in(self, column: str) -> Images | None:
        """How `column` holds images; None if it is text with file names.

        `bytes`: binary. `struct`: struct<bytes, path>, as in Hugging Face datasets. `paths`: such a struct without any
        bytes, whose paths name files.

        Raises:
            SourceError: the type of the column is neither image nor text, or holds several images in a row.
        """
        import pyarrow.types as types

        kind = self._schema.field(column).type
        if _is_binary(kind):
            return "bytes"
        if types.is_struct(kind) and any(field.name == "bytes" and _is_binary(field.type) for field in kind):
            return "paths" if self._all_null(f"{column}.bytes") else "struct"
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind) or types.is_integer(kind):
            return None
        if types.is_string_view(kind):
            return None
        raise SourceError(
            f"the column {column!r} of {self._path} is of the type {str(kind)[:80]}; an image is a file name, binary, or "
            "struct<bytes: binary, path: string>, one in each row"
        )

    def paths(self, column: str) -> Iterator[str]:
        """The file names in a column of images (empty if there is none), without reading an image."""
        kind = self._schema.field(column).type
        with open_parquet(self._path) as file:
            if "path" not in [kind.field(place).name for place in range(kind.num_fields)]:
                yield from repeat("", file.metadata.num_rows)
                return
            for batch in file.iter_batches(_ROWS, columns=[f"{column}.path"]):
                yield from (str((cell or {}).get("path") or "") for cell in batch.column(0).to_pylist())

    def _all_null(self, leaf: str) -> bool:
        """Whether a column has only nulls, by its statistics."""
        with open_parquet(self._path) as file:
            for group in range(file.metadata.num_row_groups):
                row_group = file.metadata.row_group(group)
                for place in range(row_group.num_columns):
                    found = row_group.column(place)
                    if found.path_in_schema == leaf:
                        counts = found.statistics
                        if counts is None or not counts.has_null_count or counts.null_count < row_group.num_rows:
                            return False
            return bool(file.metadata.num_rows)


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """The file at `path` as a pyarrow ParquetFile, with errors that name the file."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra(
            "a Parquet table needs pyarrow; install the extra `parquet` (pip install 'cxr-retrieval[parquet]'), "
            "or give the table as CSV"
        ) from error
    try:
        # Page by page, not by row group: a row group of images can have gigabytes.
        with parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False) as file:
            yield file
    except RetrievalError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise SourceError(f"the table {path} is not a Parquet file that can be read: {reason}") from error


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)
