"""Request bodies with fields: forms and JSON, whose number and text are bounded before they are decoded.

Litestar decodes a form's text by any codec that its part names (punycode takes quadratic time), keeps the last 1,024
urlencoded forms in memory, and builds as many objects of JSON as 85 MB hold.
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
"""Of all fields of a form but files."""

LIMIT_FIELDS = 1000
"""Of a form."""

LIMIT_VALUES = 100_000
"""Of JSON: a batch of 32 queries with all filters has some hundreds."""

_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})

Fields = dict[str, Any]


async def parse_multipart(stream: AsyncIterator[bytes], boundary: str) -> Fields:
    """Fields by name: `UploadFile` where a file was sent, else text; a list where a name comes again.

    Raises:
        ClientException: it is malformed, has more than `LIMIT_FIELDS`, or names a rare character set.
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
                        segment, content = part, _begin(part)
                    elif part and isinstance(content, UploadFile):
                        await content.write(part)
                    elif part:
                        text_bytes += len(part)
                        _limit_text(text_bytes)
                        content += part
                    elif segment is not None:
                        fields[segment.name].append(await _end(segment, content))
    except BaseException as error:
        for value in (content, *chain.from_iterable(fields.values())):
            if isinstance(value, UploadFile):
                value.file.close()
        if isinstance(error, (ParserError, ParserLimitReached)):
            raise ClientException(f"the form cannot be read: {error}") from None
        raise
    return _plain(fields)


def parse_urlencoded(body: bytes) -> Fields:
    """Text by name; a list where a name comes again.

    Raises:
        ClientException, RequestEntityTooLarge: as `parse_multipart`.
    """
    _limit_text(len(body))
    fields: defaultdict[str, list[str]] = defaultdict(list)
    try:
        for name, value in parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=LIMIT_FIELDS):
            fields[name].append(value)
    except ValueError as error:
        raise ClientException(f"the form cannot be read: {error}") from None
    return _plain(fields)


def require_few_values(body: bytes) -> None:
    """Refuse JSON of very many values; an image in base64 is one.

    Raises:
        RequestEntityTooLarge: more than `LIMIT_VALUES`.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > LIMIT_VALUES:
        raise RequestEntityTooLarge(f"the body has more than {LIMIT_VALUES:,} values")


def _begin(segment: MultipartSegment) -> UploadFile | bytearray:
    if not segment.filename:
        return bytearray()
    return UploadFile(segment.content_type or "text/plain", segment.filename, headers=dict(segment.headerlist))


async def _end(segment: MultipartSegment, content: UploadFile | bytearray) -> UploadFile | str:
    if isinstance(content, UploadFile):
        await content.seek(0)
        return content
    charset = (segment.charset or "utf-8").lower()
    if charset not in _CHARSETS:
        raise ClientException("a field of the form is not in UTF-8")
    try:
        return content.decode(charset)
    except UnicodeDecodeError:
        raise ClientException("a field of the form is not text in the character set that it names") from None


def _limit_text(size: int) -> None:
    if size > LIMIT_TEXT_BYTES:
        raise RequestEntityTooLarge(f"the form's text, files aside, has more than {LIMIT_TEXT_BYTES:,} bytes")


def _plain(fields: dict[str, list[Any]]) -> Fields:
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}
