"""Reads tables as strings: CSV, TSV and Parquet, with any types and missing values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from archives.tables.delimited import DelimitedTable, strip_blank
from archives.tables.parquet import ParquetTable, is_parquet
from retrieval.errors import MissingColumn, SourceError

# Missing values of pandas, numpy, R, SAS, SQL dumps and spreadsheets, in lower case.
_MISSING = re.compile(
    r"|[.?]|[-–—]+|[+-]?nan|(?:np|pd|numpy)\.nan?|nat|none|null|nil|undefined|\\n|n\.?a\.?|n ?/ ?a|[+-]?1\.#(?:ind|qnan)"
    r"|<(?:na|n/a|nan|nat|none|null)>|[(\[](?:none|null|nan)[)\]]|#n/?a(?: n/a)?|#div/0!"
    r"|#[¡¿]?[^\W\d]{2,14}[!?]|#(?:nv|n/[bd]|i/t|н/д)"  # spreadsheet errors in any language: `#WERT!`, `#NV`
)
_DUMMY = re.compile(
    r"[0x*#?._-]+|(?:pseudo)?anon(?:ym(?:ous|i[sz]ed|e)?)?|(?:de-?)?identified|deid|removed|redacted|unknown|dummy"
    r"|accession(?: ?number)?|no(?:t|ne)?[ _]?(?:available|applicable|known|given|value|accession|id)|missing|hidden|masked"
    r"|deleted|blank|empty|confidential|pending|tb[ad]|(?:anonymis|pseudonymis)iert|pseudonymi[sz]ed|unbekannt"
    r"|keine angaben?|k\. ?a\.|inconnu|desconocido|desconhecido|sconosciuto|onbekend",
    re.IGNORECASE,
)
# No real ids: negative numbers as placeholders, and long ids rounded by a spreadsheet (`1,23457E+11`).
_NO_NUMBER = re.compile(r"-[0-9]+(?:[.,]0+)?|[0-9](?:[.,][0-9]+)?e\+[0-9]{2,3}", re.IGNORECASE)
_LIMIT_EXACT = 2**53  # larger whole numbers are not exact as float
# pandas calls a second column of the same name `name.1`, and columns of merged tables `name_x` and `name_y`.
_REPEATED = re.compile(r"\.[0-9]+$")
_MERGED = ("_x", "_y")
_QUOTES = "\"'`“”‘’„«»"
_LONGEST_MISSING = 32  # including white space and quotes; longer cells are not missing
_SHOWN_COLUMNS = 30
_SHOWN_CHARACTERS = 40


class CellTable:
    """A CSV, TSV or Parquet table: its column names, and its rows as cleaned strings (`as_text`).

    Parquet is recognised by suffix or content; other files are read as `DelimitedTable`. `notes` list assumptions that were
    needed to read the table.
    """

    def __init__(self, path: Path, is_key: Callable[[str], bool] = lambda _: False) -> None:
        """Open the table; `is_key` recognises the name of a required column, which helps to find the separator.

        Raises:
            SourceError: the file is missing or not a table.
            MissingExtra: it is Parquet, and the extra `parquet` is not installed.
        """
        self.path = path
        self._table: ParquetTable | DelimitedTable = (
            ParquetTable(path) if is_parquet(path) else DelimitedTable(path, is_key)
        )
        self.columns: list[str] = self._table.columns
        self.notes = self._table.notes

    @property
    def parquet(self) -> ParquetTable | None:
        """The table, if it is Parquet."""
        return self._table if isinstance(self._table, ParquetTable) else None

    @property
    def found(self) -> str:
        """The column names for a message, shortened: without a header row they could be any cells."""
        names = ", ".join(name[:_SHOWN_CHARACTERS] for name in self.columns[:_SHOWN_COLUMNS])
        more = len(self.columns) - _SHOWN_COLUMNS
        separator = f" (separator {self._table.separator!r})" if isinstance(self._table, DelimitedTable) else ""
        return f"{names}{f' and {more} more' if more > 0 else ''}{separator}"

    def find(self, name: str, *, exactly: bool = False) -> str | None:
        """The column with this name in any case; None if there is none. With `exactly`, the same spelling is preferred.

        `name.1`, and `name_x` with `name_y`, count as several columns with this name, because pandas writes them so.

        Raises:
            SourceError: several columns have this name.
        """
        if exactly and self.columns.count(name) == 1:
            return name
        wanted = name.strip().casefold()
        alike = [column for column in self.columns if column.casefold() == wanted]
        if alike:
            alike += [c for c in self.columns if _REPEATED.sub("", lower := c.casefold()) == wanted != lower]
        else:
            merged = [column for column in self.columns if column.casefold() in {wanted + end for end in _MERGED}]
            alike = merged if len(merged) > 1 else []
        if len(alike) > 1:
            raise self.ambiguous(alike)
        return alike[0] if alike else None

    def ambiguous(self, alike: Sequence[str]) -> SourceError:
        """The error for several columns of one field."""
        if len(set(alike)) == 1:
            return SourceError(f"{self.path} has {len(alike)} columns {alike[0]!r}; rename or remove all but one")
        return SourceError(
            f"{self.path} has the columns {' and '.join(map(repr, alike))}; choose one with --column, if the source has "
            "this option, or rename or remove all but one"
        )

    def require(self, *names: str) -> None:
        """Check that there is exactly one column for each of `names`.

        Raises:
            MissingColumn: a column is missing. SourceError: there are several columns for one name.
        """
        missing = [name for name in names if not self.find(name)]
        if missing:
            raise MissingColumn(
                f"{self.path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
                f"expected {', '.join(names)}; found {self.found}"
            )

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The cells of `columns`, row by row.

        Raises:
            SourceError: the file is damaged.
        """
        return (tuple(map(as_text, values)) for values in self._table.rows(columns))


def as_text(value: Any) -> str:
    """A cell as text: 12.0 as `12`, a list joined by `;`, a missing value as the empty string.

    Missing values are nulls, NaN, and words such as `nan`, `None`, `NULL`, `N/A`, `<NA>`, `#N/A` or `-`, in any case and
    with white space or quotes around them. White space at the ends is removed.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = strip_blank(value)
        return "" if is_missing(text) else text
    if isinstance(value, list | tuple):
        return ";".join(filter(None, map(as_text, value)))
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < _LIMIT_EXACT else f"{value:e}"
    return as_text(str(value))


def is_missing(text: str) -> bool:
    """Whether a cell stands for a missing value."""
    if len(text) > _LONGEST_MISSING:
        return False
    bare = text
    while (stripped := strip_blank(bare).strip(_QUOTES)) != bare:
        bare = stripped
    return _MISSING.fullmatch(bare.casefold()) is not None


def as_report_text(text: str) -> str:
    """A cell of findings or impression; `None.` with a full stop counts as empty, too."""
    return "" if is_missing(text.rstrip(". ")) else text


def as_whole_numbers(cells: Sequence[str]) -> list[str]:
    """A column of keys. If all keys end in `.0` (pandas has turned them into floats), the `.0` is removed.

    Leading zeros stay.
    """
    given = [cell for cell in cells if cell]
    if given and all(re.fullmatch(r"[0-9]+\.0", cell) for cell in given):
        return [cell.removesuffix(".0") for cell in cells]
    return list(cells)


def as_ids(cells: Sequence[str]) -> list[str]:
    """A column of study ids, with values that are no ids replaced by the empty string.

    These are dummies such as `ANON`, which would merge many studies into one, negative numbers (`-1`), and rounded numbers
    (`1.23E+11`). `0` is a dummy only if all of several rows have it.
    """
    ids = as_whole_numbers(cells)
    given = [each for each in ids if each]
    is_constant = len(given) > 1 and len(set(given)) == 1
    return [
        "" if _NO_NUMBER.fullmatch(each) or (is_dummy(each) and (is_constant or each.strip("0"))) else each
        for each in ids
    ]


def is_dummy(key: str) -> bool:
    """Whether a key is a dummy value of de-identification (PS3.15 allows any)."""
    return _DUMMY.fullmatch(key) is not None
