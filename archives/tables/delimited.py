"""Reads text tables: CSV and TSV from programs and spreadsheets."""

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
# Excel's first line `sep=;`, which names the separator; saved again, separators follow it.
_SEP_LINE = re.compile(r'"?sep=(?P<separator>[^\w\s"]|\t)"?[,;\t|]*[\r\n]*', re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BLOCK_BYTES = 1 << 20

_BLANK = "\u200b\u200c\u200d\u2060\ufeff\0"  # characters without width that Python does not strip
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

csv.field_size_limit(1 << 30)  # Python's own limit is 131,072 characters, which a report can exceed


def strip_blank(text: str) -> str:
    """`text` without white space at its ends, including characters without width."""
    return text.strip().strip(_BLANK).strip()


class DelimitedTable:
    """The rows of a text file (also `.gz`), with each cell as an unchanged string.

    The separator comes from a first line `sep=;`. Without one it is the first of comma, tab, semicolon and bar (tab first
    for `.tsv`) that gives a header with the required column, else the one that gives a header with most cells. Accepted
    encodings: UTF-8, UTF-16 with or without a byte order mark, and Windows-1252 (with a note).
    """

    def __init__(self, path: Path, is_key: Callable[[str], bool]) -> None:
        """Read the header; `is_key` recognises the name of a required column.

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
            raise SourceError(f"the table {path} has no header row: it is empty")
        self.notes: tuple[str, ...] = ()
        if self._encoding == "cp1252":
            self.notes = (f"{path.name} is not UTF-8 and was read as Windows-1252; check its accents",)

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """The cells of `columns`, row by row. Missing cells at the end of a row are empty; blank lines are skipped.

        Raises:
            SourceError: a row is longer than the header, a quote is not closed or text follows a closing quote (either would
                swallow further rows), or the file is damaged.
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
                            f"the header {width} (separator {self.separator!r}); does the row end with a separator, or has "
                            "a text without quotes one?"
                        )
                    yield tuple(record[place] if place < len(record) else "" for place in places)
            except csv.Error:
                raise SourceError(
                    f"the table {self._path} has a quote in row {number + 1} that is not closed, or text after a closing "
                    'quote; write a quote inside a text twice ("")'
                ) from None

    def _header(self, separator: str) -> list[str]:
        with self._open() as file:
            return next(self._records(file, separator), [])

    def _records(self, lines: TextIO, separator: str, *, strict: bool = False) -> Iterator[list[str]]:
        if self._skips_line:
            next(lines, None)
        return (record for record in csv.reader(lines, delimiter=separator, strict=strict) if record)

    def _find_separator(self, is_key: Callable[[str], bool]) -> tuple[bool, str]:
        """True if the first line names the separator, and the separator."""
        self._skips_line = False
        with self._open() as file:
            if named := _SEP_LINE.fullmatch(file.readline(64).removeprefix("\ufeff")):
                return True, named["separator"]
        is_tab = bool(_TAB_SUFFIXES & {suffix.lower() for suffix in self._path.suffixes})
        tried = sorted(_SEPARATORS, key=lambda each: each != "\t") if is_tab else _SEPARATORS
        headers = {separator: self._header(separator) for separator in tried}
        keyed = (each for each, names in headers.items() if any(is_key(strip_blank(name)) for name in names))
        return False, next(keyed, max(headers, key=lambda each: len(headers[each])))

    def _find_encoding(self) -> str:
        with self._open_bytes() as file:
            head = file.read(_BLOCK_BYTES)
            if head.startswith(_WORKBOOKS):
                raise SourceError(f"the table {self._path} is a spreadsheet workbook; save it as CSV")
            for mark, encoding in _MARKS:
                if head.startswith(mark):
                    return encoding
            # Plain letters in UTF-16 have a zero in every second byte; other encodings have no zeros.
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
        """Turn reading errors into errors that name the table."""
        try:
            yield
        except FileNotFoundError:
            raise SourceError(f"the table {self._path} does not exist") from None
        except UnicodeDecodeError as error:
            raise SourceError(f"the table {self._path} is not {error.encoding}; save it as UTF-8 CSV") from error
        except (OSError, EOFError, zlib.error) as error:  # zlib.error and EOFError: a damaged or truncated .gz
            reason = getattr(error, "strerror", None) or error
            raise SourceError(f"the table {self._path} cannot be read: {reason}") from error
        except csv.Error as error:
            raise SourceError(f"the table {self._path} cannot be read as CSV: {error}") from error
