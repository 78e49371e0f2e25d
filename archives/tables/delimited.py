"""Text tables: CSV and TSV as programs and spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from retrieval.errors import SourceError

_SEPARATORS = (",", "\t", ";", "|")
_TAB_SUFFIXES = {".tsv", ".tab"}
# Excel's own first line, which names the separator; saved again it has separators after it.
_SEP_LINE = re.compile(r'"?sep=(?P<separator>[^\w\s"]|\t)"?[,;\t|]*[\r\n]*', re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BLOCK_BYTES = 1 << 20

_BLANK = "\u200b\u200c\u200d\u2060\ufeff\0"  # without width, and no white space to Python
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

csv.field_size_limit(1 << 30)  # Python's own limit is 131,072 characters, which a report can exceed


def strip_blank(text: str) -> str:
    """`text` without white space at its ends, of whatever width."""
    return text.strip().strip(_BLANK).strip()


class DelimitedTable:
    """The rows of a text file (also `.gz`), every cell a string as it stands there.

    The separator is that of a first line `sep=;`; else the first of comma, tab, semicolon and bar (tab first for `.tsv`) by
    which the header has the column that is looked for; else the one that gives the header most cells. Rows say nothing
    about it. UTF-8, UTF-16 with or without a mark, and Windows-1252, which a note names.
    """

    def __init__(self, path: Path, is_key: Callable[[str], bool]) -> None:
        """Read the header; `is_key` tells the name of a column that must be there.

        Raises:
            SourceError: the file is missing or not a table.
        """
        self._path = path
        self._encoding = "utf-8"
        with self._errors():
            self._encoding = self._find_encoding()
            self._skips_line, self.separator = self._find_separator(is_key)
            self.columns = [strip_blank(name) for name in self._header(self.separator)]
        if not any(self.columns):
            raise SourceError(f"the table {path} is not a table with a header row: it is empty")
        self.notes: tuple[str, ...] = ()
        if self._encoding == "cp1252":
            self.notes = (f"{path.name} is not UTF-8 and was read as Windows-1252; look at its accents",)

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The cells of `columns`; short rows end in empty cells, blank lines are no rows.

        Raises:
            SourceError: a row is longer than the header, a quote is never closed or has more than a separator after it (a
                row would take in the next ones), or the file is damaged.
        """
        places = [self.columns.index(name) for name in columns]
        width = len(self.columns)
        with self._errors(), self._open() as file:
            number = 0
            try:
                for number, record in enumerate(self._records(file, self.separator, strict=True)):
                    if number == 0:
                        continue
                    if len(record) > width:
                        raise SourceError(
                            f"the rows of {self._path} have more cells than its header: row {number} has {len(record)}, "
                            f"the header {width} (separator {self.separator!r}); is a delimiter at their ends, or "
                            "in a text without quotes?"
                        )
                    yield tuple(record[place] if place < len(record) else "" for place in places)
            except csv.Error:
                raise SourceError(
                    f"the table {self._path} has a quote in row {number + 1} that is never closed, or text after a closing "
                    'quote; a quote inside a text is written twice ("")'
                ) from None

    def _header(self, separator: str) -> list[str]:
        with self._open() as file:
            return next(self._records(file, separator), [])

    def _records(self, lines: TextIO, separator: str, *, strict: bool = False) -> Iterator[list[str]]:
        if self._skips_line:
            next(lines, None)
        return (record for record in csv.reader(lines, delimiter=separator, strict=strict) if record)

    def _find_separator(self, is_key: Callable[[str], bool]) -> tuple[bool, str]:
        """Whether the first line says it, and the separator."""
        self._skips_line = False
        with self._open() as file:
            if said := _SEP_LINE.fullmatch(file.readline(64).removeprefix("\ufeff")):
                return True, said["separator"]
        is_tab = bool(_TAB_SUFFIXES & {suffix.lower() for suffix in self._path.suffixes})
        tried = sorted(_SEPARATORS, key=lambda each: each != "\t") if is_tab else _SEPARATORS
        headers = {separator: self._header(separator) for separator in tried}
        keyed = (each for each, names in headers.items() if any(is_key(strip_blank(name)) for name in names))
        return False, next(keyed, max(headers, key=lambda each: len(headers[each])))

    def _find_encoding(self) -> str:
        with self._open_bytes() as file:
            head = file.read(_BLOCK_BYTES)
            if head.startswith(_WORKBOOKS):
                raise SourceError(f"the table {self._path} is a workbook of a spreadsheet program; save it as CSV")
            for mark, encoding in _MARKS:
                if head.startswith(mark):
                    return encoding
            # Of plain letters in UTF-16 every other byte is zero; a text in another encoding has none.
            for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
                some = head[offset:512:2]
                if some and some.count(0) > len(some) // 2 and head[1 - offset : 512 : 2].count(0) == 0:
                    return encoding
            decoders = {name: codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252")}
            failed: dict[str, UnicodeDecodeError] = {}
            while decoders:
                for name, decoder in list(decoders.items()):
                    try:
                        decoder.decode(head, final=not head)
                    except UnicodeDecodeError as error:
                        failed[name] = error
                        del decoders[name]
                if not head:
                    break
                head = file.read(_BLOCK_BYTES)
        if not decoders:
            raise SourceError(f"the table {self._path} is not UTF-8; save it as UTF-8 CSV") from failed["utf-8"]
        return next(iter(decoders))

    def _open_bytes(self) -> BinaryIO:
        return cast(BinaryIO, gzip.open(self._path)) if self._path.suffix.lower() == ".gz" else self._path.open("rb")

    @contextmanager
    def _open(self) -> Iterator[TextIO]:
        with self._open_bytes() as file, io.TextIOWrapper(file, encoding=self._encoding, newline="") as text:
            yield text

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what goes wrong in reading into an error that names the table."""
        try:
            yield
        except FileNotFoundError:
            raise SourceError(f"the table {self._path} does not exist") from None
        except UnicodeDecodeError as error:
            raise SourceError(f"the table {self._path} is not {error.encoding}; save it as UTF-8 CSV") from error
        except (OSError, EOFError, zlib.error) as error:  # of the system, or of a compressed file that is cut short
            reason = getattr(error, "strerror", None) or error
            raise SourceError(f"the table {self._path} cannot be read: {reason}") from error
        except csv.Error as error:
            raise SourceError(f"the table {self._path} is not a table with a header row: {error}") from error
