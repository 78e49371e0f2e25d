"""Tables on disk as strings: CSV, TSV and Parquet, whatever types and missing values they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from archives.tables.delimited import DelimitedTable, strip_blank
from archives.tables.parquet import ParquetTable, is_parquet
from retrieval.errors import MissingColumn, SourceError

# What pandas, numpy, R, SAS, SQL dumps and spreadsheets write for a value that is not there; compared in lower case.
_MISSING = re.compile(
    r"|[.?]|[-–—]+|[+-]?nan|(?:np|pd|numpy)\.nan?|nat|none|null|nil|undefined|\\n|n\.?a\.?|n ?/ ?a|[+-]?1\.#(?:ind|qnan)"
    r"|<(?:na|n/a|nan|nat|none|null)>|[(\[](?:none|null|nan)[)\]]|#n/?a(?: n/a)?|#div/0!"
    r"|#[¡¿]?[^\W\d]{2,14}[!?]|#(?:nv|n/[bd]|i/t|н/д)"  # errors of spreadsheets in any language: `#WERT!`, `#NV`
)
_DUMMY = re.compile(
    r"[0x*#?._-]+|(?:pseudo)?anon(?:ym(?:ous|i[sz]ed|e)?)?|(?:de-?)?identified|deid|removed|redacted|unknown|dummy"
    r"|accession(?: ?number)?|no(?:t|ne)?[ _]?(?:available|applicable|known|given|value|accession|id)|missing|hidden|masked"
    r"|deleted|blank|empty|confidential|pending|tb[ad]|(?:anonymis|pseudonymis)iert|pseudonymi[sz]ed|unbekannt"
    r"|keine angaben?|k\. ?a\.|inconnu|desconocido|desconhecido|sconosciuto|onbekend",
    re.IGNORECASE,
)
# Rows without an id that a program filled with a number, and long ids that one has rounded: `1,23457E+11`.
_NO_NUMBER = re.compile(r"-[0-9]+(?:[.,]0+)?|[0-9](?:[.,][0-9]+)?e\+[0-9]{2,3}", re.IGNORECASE)
_LIMIT_EXACT = 2**53  # beyond it, different whole numbers are one float
# What pandas makes of a second column of one name; `_x` and `_y` of two tables that it has merged.
_REPEATED = re.compile(r"\.[0-9]+$")
_MERGED = ("_x", "_y")
_QUOTES = "\"'`“”‘’„«»"
_LONGEST_MISSING = 32  # with white space and quotes around it; most cells are text and need no closer look
_SHOWN_COLUMNS = 30
_SHOWN_CHARACTERS = 40


class CellTable:
    """A CSV, TSV or Parquet table: its column names, and its rows as cleaned strings (`as_text`).

    Parquet is told by suffix or content; everything else is read as `DelimitedTable` says. `notes` say what had to be
    assumed to read it.
    """

    def __init__(self, path: Path, is_key: Callable[[str], bool] = lambda _: False) -> None:
        """Open the table; `is_key` tells the name of a column that it must have, by which the separator is found.

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
        """The names of the columns, for a message: a table without a header may have anything here, so not all of it."""
        names = ", ".join(name[:_SHOWN_CHARACTERS] for name in self.columns[:_SHOWN_COLUMNS])
        more = len(self.columns) - _SHOWN_COLUMNS
        separator = f" (separator {self._table.separator!r})" if isinstance(self._table, DelimitedTable) else ""
        return f"{names}{f' and {more} more' if more > 0 else ''}{separator}"

    def find(self, name: str, *, exactly: bool = False) -> str | None:
        """The column called `name` in any case; None if there is none. `exactly` prefers the very spelling.

        `name.1`, and `name_x` with `name_y`, are what pandas makes of several columns of this name.

        Raises:
            SourceError: several columns are called so.
        """
        if exactly and self.columns.count(name) == 1:
            return name
        wanted = name.strip().casefold()
        alike = [column for column in self.columns if column.casefold() == wanted]
        if alike:
            alike += [
                column for column in self.columns if _REPEATED.sub("", folded := column.casefold()) == wanted != folded
            ]
        else:
            merged = [column for column in self.columns if column.casefold() in {wanted + end for end in _MERGED}]
            alike = merged if len(merged) > 1 else []
        if len(alike) > 1:
            raise self.ambiguous(alike)
        return alike[0] if alike else None

    def ambiguous(self, alike: Sequence[str]) -> SourceError:
        """The error that says that `alike` are several columns for one thing."""
        if len(set(alike)) == 1:
            return SourceError(f"{self.path} has {len(alike)} columns {alike[0]!r}; rename or remove all but one")
        return SourceError(
            f"{self.path} has the columns {' and '.join(map(repr, alike))}; --column says which is meant, where there is "
            "that option; else rename or remove all but one"
        )

    def require(self, *names: str) -> None:
        """Make sure that there is exactly one column of each of `names`.

        Raises:
            MissingColumn: one is missing. SourceError: one is there several times.
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
    """A cell as it would be typed: 12.0 as `12`, a list joined by `;`, a missing value as the empty string.

    Missing are nulls, NaN, and the words that programs write for them (`nan`, `None`, `NULL`, `N/A`, `<NA>`, `#N/A`, `-`,
    ...), in any case, with white space or quotes around them. White space at the ends goes.
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
    """Whether a cell says that it has no value."""
    if len(text) > _LONGEST_MISSING:
        return False
    bare = text
    while (stripped := strip_blank(bare).strip(_QUOTES)) != bare:
        bare = stripped
    return _MISSING.fullmatch(bare.casefold()) is not None


def as_report_text(text: str) -> str:
    """A cell of findings or impression: `None.` is prose, and says no more than an empty cell."""
    return "" if is_missing(text.rstrip(". ")) else text


def as_whole_numbers(cells: Sequence[str]) -> list[str]:
    """A column of keys. Where every one is a whole number with `.0`, pandas had made floats of them: `12.0` is `12`.

    Leading zeros stay, and so does `.0` beside keys of another form.
    """
    given = [cell for cell in cells if cell]
    if given and all(re.fullmatch(r"[0-9]+\.0", cell) for cell in given):
        return [cell.removesuffix(".0") for cell in cells]
    return list(cells)


def as_ids(cells: Sequence[str]) -> list[str]:
    """A column of ids of studies, as whole numbers; a dummy such as `ANON` is missing, for it would make one study of many.

    So are negative numbers (`-1`) and rounded ones (`1.23E+11`). `0` is a dummy where every one of several rows has it, and
    else an id.
    """
    ids = as_whole_numbers(cells)
    given = [each for each in ids if each]
    is_constant = len(given) > 1 and len(set(given)) == 1
    return [
        "" if _NO_NUMBER.fullmatch(each) or (is_dummy(each) and (is_constant or each.strip("0"))) else each
        for each in ids
    ]


def is_dummy(key: str) -> bool:
    """Whether a key is one that de-identification writes into every file (PS3.15 allows any dummy value)."""
    return _DUMMY.fullmatch(key) is not None
