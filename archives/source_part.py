"""A part of a source, so that several processes or machines can share an ingest."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import ClassVar

from retrieval.errors import InvalidRequest
from retrieval.records import Quarantined, Source, Study


class SourcePart:
    """The studies of a source in part `number` of `count`, chosen by a checksum of their id.

    Each study is in exactly one part, independent of the order of the source and of new studies.
    """

    WHOLE: ClassVar[str] = "1/1"
    """The name of the part that is the whole source."""

    def __init__(self, source: Source, number: int, count: int) -> None:
        """Parts are numbered from 1.

        Raises:
            InvalidRequest: there is no such part.
        """
        if not 1 <= number <= count:
            raise InvalidRequest(f"there is no part {number} of {count}; parts are numbered from 1")
        self.dataset = source.dataset
        self.name = f"{number}/{count}"
        self.whole = source
        self._number = number
        self._count = count

    def __iter__(self) -> Iterator[Study | Quarantined]:
        for record in self.whole:
            key = record.file if isinstance(record, Quarantined) else record.study_id
            if zlib.crc32(key.encode(errors="surrogateescape")) % self._count == self._number - 1:
                yield record

    def image_count(self) -> int:
        """The expected number of images: those of the source divided by the number of parts."""
        return -(-self.whole.image_count() // self._count)


def parse_part(text: str) -> tuple[int, int]:
    """`2/8` as (2, 8).

    Raises:
        InvalidRequest: the text does not have this form.
    """
    if not (matched := re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())):
        raise InvalidRequest(f"--worker takes a part such as 2/8, found {text!r}")
    return int(matched[1]), int(matched[2])
