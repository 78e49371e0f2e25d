"""Parsers of forms, and a limit for JSON, that bound the number of values and the text before decoding.

They replace Litestar's parsers, which decode text with any codec that a part names (punycode takes quadratic time), cache
the last 1,024 urlencoded forms, and build as many objects as 85 MB of JSON describe. Litestar then converts the fields to
their types with `msgspec.convert(strict=False)`; that step comes too late for these limits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from litestar.datastructures import UploadFile
from litestar.exceptions import ClientException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from multipart import MultipartSegment, ParserError, ParserLimitReached, PushMultipartParser

LIMIT_TEXT_BYTES = 256 * 1024
"""Largest text of all fields of a form, files excluded."""

LIMIT_FIELDS = 1000
"""Largest number of fields of a form."""

LIMIT_VALUES = 100_000
"""Largest number of values in a JSON body. A batch of 32 queries with all filters has some hundreds."""

_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})

Fields = dict[str, Any]


async def parse_multipart(stream: AsyncIterator[bytes], boundary: str) -> Fields:
    """Fields by name: an `UploadFile` for a file, else text; a list for a repeated name.

    Raises:
        ClientException: it is malformed, has more than `LIMIT_FIELDS` fields, or names an unusual character set.
        RequestEntityTooLarge: its text exceeds `LIMIT_TEXT_BYTES`.
    """
    fields: defaultdict[str, list[Any]] = defaultdict(list)
    segment: MultipartSegment | None = None
    content: UploadFile | bytearray = bytearray()
    text_bytes = 0
    try:
        with PushMultipartParser(boundary.encode(), max_segment_count=LIMIT_FIELDS) as parser:
            async for chunk in stream:
                for part in parser.parse(chunk):
                    if isinstance(part, MultipartSegment):
                        segment, content = part, _start_field(part)
                    elif part and isinstance(content, UploadFile):
                        await content.write(part)
                    elif part:
                        text_bytes += len(part)
                        _require_short(text_bytes)
                        content += part
                    elif segment is not None:
                        fields[segment.name].append(await _finish_field(segment, content))
    except BaseException as error:
        for value in (content, *chain.from_iterable(fields.values())):
            if isinstance(value, UploadFile):
                value.file.close()
        if isinstance(error, (ParserError, ParserLimitReached)):
            raise ClientException(f"the form cannot be read: {error}") from None
        raise
    return _unwrap_single(fields)


def parse_urlencoded(body: bytes) -> Fields:
    """Texts by name; a list for a repeated name.

    Raises:
        ClientException, RequestEntityTooLarge: as `parse_multipart`.
    """
    _require_short(len(body))
    fields: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for name, value in parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=LIMIT_FIELDS):
            fields[name].append(value)
    except ValueError as error:
        raise ClientException(f"the form cannot be read: {error}") from None
    return _unwrap_single(fields)


def require_few_values(body: bytes) -> None:
    """Refuse JSON of very many values. An image in base64 is one value.

    Raises:
        RequestEntityTooLarge: it has more than `LIMIT_VALUES` values.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > LIMIT_VALUES:
        raise RequestEntityTooLarge(f"the body has more than {LIMIT_VALUES:,} values")


def _start_field(segment: MultipartSegment) -> UploadFile | bytearray:
    if not segment.filename:
        return bytearray()
    return UploadFile(segment.content_type or "text/plain", segment.filename, headers=dict(segment.headerlist))


async def _finish_field(segment: MultipartSegment, content: UploadFile | bytearray) -> UploadFile | str:
    if isinstance(content, UploadFile):
        await content.seek(0)
        return content
    charset = (segment.charset or "utf-8").lower()
    if charset not in _CHARSETS:
        raise ClientException("a form field is not encoded in UTF-8")
    try:
        return content.decode(charset)
    except UnicodeDecodeError:
        raise ClientException("a form field cannot be decoded with the character set that it names") from None


def _require_short(size: int) -> None:
    if size > LIMIT_TEXT_BYTES:
        raise RequestEntityTooLarge(f"the form's text has more than {LIMIT_TEXT_BYTES:,} bytes (files excluded)")


def _unwrap_single(fields: dict[str, list[Any]]) -> Fields:
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}
