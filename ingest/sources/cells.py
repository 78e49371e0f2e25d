"""Tables on disk as strings: CSV, TSV and Parquet, whatever types and missing values they hold."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.errors import MissingColumn, MissingExtra, SourceError

if TYPE_CHECKING:
    from pandas import DataFrame

_PARQUET_SUFFIXES = {".parquet", ".pq"}
_PARQUET_MAGIC = b"PAR1"
_TAB_SUFFIXES = {".tsv", ".tab"}


def read_table(path: Path, columns: tuple[str, ...]) -> DataFrame:
    """A CSV file in UTF-8, every cell a string, empty cells empty.

    Raises:
        SourceError: the file is missing, not UTF-8 or not a table.
        MissingColumn: one of `columns` is not among its columns.
    """
    table = _read_delimited(path)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise MissingColumn(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"expected {', '.join(columns)}; found {', '.join(map(str, table.columns))}"
        )
    return table


class CellTable:
    """A CSV, TSV or Parquet table: its column names, and its rows as strings without white space at their ends.

    Parquet is told by suffix or content, TSV by suffix; `.csv.gz` and `.tsv.gz` do as well. Of Parquet, numbers are
    written without a needless `.0`, missing values are empty, and the entries of a list are joined by `;`.
    """

    def __init__(self, path: Path) -> None:
        """Open the table.

        Raises:
            SourceError: the file is missing or not a table.
            MissingExtra: it is Parquet, and the extra `parquet` is not installed.
        """
        self.path = path
        self._delimited = None if _is_parquet(path) else _read_delimited(path)
        self.columns: list[str] = (
            _parquet_columns(path) if self._delimited is None else [str(name) for name in self._delimited.columns]
        )

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The cells of `columns`, row by row.

        Raises:
            SourceError: the file is damaged.
        """
        # Only these are read of a Parquet file, which may hold whole images in others.
        wanted = list(dict.fromkeys(columns))
        table = _read_parquet(self.path, wanted) if self._delimited is None else self._delimited
        cells = {name: [as_text(value) for value in table[name].tolist()] for name in wanted}
        return zip(*(cells[name] for name in columns), strict=True)


def as_text(value: Any) -> str:
    """A cell as it would be typed: 12.0 as `12`, a missing value as the empty string, a list joined by `;`."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        value = value.tolist()
    if isinstance(value, list | tuple):
        return ";".join(filter(None, map(as_text, value)))
    if value is None or repr(value) in ("<NA>", "NaT", "nan"):  # NA cannot be compared
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in _PARQUET_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
    except OSError:
        return False  # reading it as CSV says what is wrong


def _read_delimited(path: Path) -> DataFrame:
    import pandas as pd  # takes half a second to import, which `cxr --help` should not

    separator = "\t" if _TAB_SUFFIXES & {suffix.lower() for suffix in path.suffixes} else ","
    try:
        with warnings.catch_warnings():
            # Of rows longer than the header pandas would make the first cell an index, or drop the last: both shift or
            # lose data.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                compression="gzip" if path.suffix.lower() == ".gz" else None,
            )
    except pd.errors.ParserWarning:
        raise SourceError(
            f"the rows of {path} have more cells than its header; is a delimiter at their ends?"
        ) from None
    except FileNotFoundError:
        raise SourceError(f"the table {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"the table {path} is not UTF-8 at byte {error.start}; save it as UTF-8 CSV") from error
    except (OSError, EOFError, zlib.error) as error:  # of the system, or of a compressed file that is cut short
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"the table {path} cannot be read: {reason}") from error
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise SourceError(f"the table {path} is not a table with a header row: {error}") from error
    return table.fillna("")


def _parquet_columns(path: Path) -> list[str]:
    parquet = _import_parquet()
    if not path.is_file():
        raise SourceError(f"the table {path} does not exist")
    try:
        return [str(name) for name in parquet.read_schema(path).names]
    except (OSError, ValueError) as error:
        raise SourceError(f"the table {path} is not a Parquet file that can be read: {error}") from error


def _read_parquet(path: Path, columns: list[str]) -> DataFrame:
    import pandas as pd

    try:
        # Arrow's own types, because a column of integers with a gap would turn into floats.
        table = pd.read_parquet(path, engine="pyarrow", columns=columns, dtype_backend="pyarrow")
    except (OSError, ValueError) as error:
        raise SourceError(f"the table {path} is not a Parquet file that can be read: {error}") from error
    # What was an index when pandas wrote the file is one again.
    return table if set(columns) <= set(table.columns) else table.reset_index()


def _import_parquet() -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra(
            "a Parquet table needs pyarrow; install the extra `parquet` (pip install 'cxr-retrieval[parquet]'), "
            "or give the table as CSV"
        ) from error
    return parquet
