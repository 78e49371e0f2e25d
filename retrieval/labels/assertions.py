"""The findings that a text names, each with its status (present, uncertain, absent), side and severity.

`sentences` splits the text, `scanner` reads the status of each finding, `modifiers` its side and severity.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from retrieval.labels.kinds import Dialect, Kind
from retrieval.labels.laterality import Side
from retrieval.labels.modifiers import read_denied_modifiers, read_modifiers
from retrieval.labels.scan_state import Mention
from retrieval.labels.scanner import Scan, scan_sentence
from retrieval.labels.sentences import read_sentences
from retrieval.records import Status

_CACHED = 8192  # sentences; 3,475 reports have about 7,500 different ones
_REFERRER_QUESTION = re.compile(r"(?<![:\w])//[^\n.;]*")


@dataclass(frozen=True, slots=True)
class Assertion:
    """One finding (an Indiana head, or `Enlarged Cardiomediastinum`), its status, and the side and severity said with it.

    Side and severity belong to findings that are present, and to those that a query excludes; else they are empty.
    """

    head: str
    status: Status
    side: Side | Literal[""] = ""
    severity: str = ""


def read_assertions(text: str, dialect: Dialect = "report") -> Iterator[Assertion]:
    """The findings that `text` names, each with its status, in the order of the text; a finding may come several times."""
    for sentence in read_sentences(read_part(text, dialect)):
        yield from _read_sentence(sentence, dialect)


def read_part(text: str, dialect: Dialect) -> str:
    """The part of `text` that is read: in a report, what follows "//" is the referrer's question ("cough // pneumonia?")."""
    return text if dialect == "query" else _REFERRER_QUESTION.sub("", text)


def omitted_parts(text: str) -> list[str]:
    """The parts of a report that `read_part` leaves out."""
    return [part.strip() for part in _REFERRER_QUESTION.findall(text)]


def assert_mention(sentence: str, scan: Scan, mention: Mention, dialect: Dialect) -> tuple[Assertion, ...]:
    """The assertions of one mention, one for each of its heads; none if the sentence states no status."""
    status = mention.status
    if not status:
        return ()
    return tuple(Assertion(head, status, *_modifiers(sentence, scan, mention, head, dialect)) for head in mention.heads)


@functools.lru_cache(maxsize=_CACHED)
def _read_sentence(sentence: str, dialect: Dialect) -> tuple[Assertion, ...]:
    scan = scan_sentence(sentence, dialect)
    return tuple(each for mention in scan.mentions for each in assert_mention(sentence, scan, mention, dialect))


def _modifiers(
    sentence: str, scan: Scan, mention: Mention, head: str, dialect: Dialect
) -> tuple[Side | Literal[""], str]:
    if mention.status == "present":
        return read_modifiers(sentence, scan.spans, mention.index, head)
    is_finding = scan.spans[mention.index].kind is Kind.FINDING
    if mention.status == "absent" and dialect == "query" and is_finding:
        return read_denied_modifiers(sentence, scan.spans, mention.index, head)
    return "", ""
