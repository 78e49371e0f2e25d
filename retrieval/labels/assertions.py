"""What a sentence says of each finding that it names: that it is there, that it may be, that it is not.

`statuses` reads what triggers deny and doubt; `structures` what is said of a structure ("the heart is enlarged", "clear
lungs"); `descriptions` the side and the severity.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.labels.modifiers import describe, describe_denied
from retrieval.labels.scanner import Found, read_statuses
from retrieval.labels.sentences import read_sentences
from retrieval.labels.spans import Dialect, Event, read_events
from retrieval.records import Status

_CACHED = 8192  # sentences; of 3,475 reports there are about 7,500 different ones
# "Cough // evaluate for pneumonia": what stands behind the strokes was asked, and is not found.
_QUESTION_OF_REFERRER = re.compile(r"(?<![:\w])//[^\n.;]*")


@dataclass(frozen=True, slots=True)
class Assertion:
    """One finding (an Indiana head, or `Enlarged Cardiomediastinum`), its status, and the side and severity said with it.

    Side and severity are those of what is present, and of what a query denies; else they are empty.
    """

    head: str
    status: Status
    side: str = ""
    severity: str = ""


def read_assertions(text: str, dialect: Dialect = "report") -> Iterator[Assertion]:
    """What `text` says of each finding it names, in the order of the text; one finding may come several times."""
    for sentence in read_sentences(text if dialect == "query" else _QUESTION_OF_REFERRER.sub("", text)):
        yield from _read_sentence(sentence, dialect)


@functools.lru_cache(maxsize=_CACHED)
def _read_sentence(sentence: str, dialect: Dialect) -> tuple[Assertion, ...]:
    events = read_events(sentence, dialect)
    if not any(event.kind in ("finding", "subject") for event in events):
        return ()
    return tuple(
        Assertion(head, each.status, *_marks(sentence, events, each, head, dialect))
        for each in read_statuses(sentence, events, dialect)
        for head in each.heads
        if each.status
    )


def _marks(sentence: str, events: tuple[Event, ...], found: Found, head: str, dialect: Dialect) -> tuple[str, str]:
    if found.status == "present":
        return describe(sentence, events, found.index, head)
    if found.status == "absent" and dialect == "query" and events[found.index].kind == "finding":
        return describe_denied(sentence, events, found.index, head)
    return "", ""
