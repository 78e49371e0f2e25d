"""The events of a sentence: findings, structures, and the words and marks that deny, doubt and join them."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

from retrieval.labels import triggers
from retrieval.labels.finding_words import PREDICATES, SUBJECTS, WORDS_OF_HEAD

Dialect = Literal["report", "query"]
"""`report`: "A or B" doubts both, "to exclude A" doubts, lists after a denial may lack "or". `query`: none of it."""


ADJACENT = 12
"""Characters between an adjective and its noun ("normal heart size"), or between the two sides of "versus", at most."""


@dataclass(frozen=True, slots=True)
class Event:
    """A stretch of a sentence that means something: its kind, and which of its kind it is."""

    kind: str
    value: str
    start: int
    end: int


def gap(one: Event, other: Event) -> int:
    """Characters between two events."""
    return other.start - one.end


@functools.lru_cache(maxsize=256)  # a query is read for what it says, then for what it leaves unread
def read_events(sentence: str, dialect: Dialect) -> tuple[Event, ...]:
    """The events of a sentence in lower case, in order; none overlaps another."""
    return tuple(_to_event(match) for match in _scanner(dialect).finditer(sentence))


def covers(text: str, start: int) -> bool:
    """Whether an event of the query dialect begins or goes on at `start` of `text`, which is in lower case."""
    return any(first <= start < last for first, last in _spans(text))


@functools.lru_cache(maxsize=1)
def _spans(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(match.span() for match in _scanner("query").finditer(text))


_PARTIAL = re.compile(r"\b(?:otherwise|elsewhere|remain(?:der|ing)|rest|left|right|upper|lower|partially)\b")


def is_partial(sentence: str, subject: Event, predicate: Event) -> bool:
    """Whether a normal predicate is said of a part ("the lungs are otherwise clear"), which denies nothing of the whole."""
    if predicate.value not in ("normal", "clear", "intact"):
        return False
    start, end = sorted((subject.start, predicate.start))
    return bool(_PARTIAL.search(sentence[max(0, start - 20) : end]))


def _kinds(dialect: Dialect) -> list[tuple[str, str, str]]:
    """Kind, value and pattern of every event, in the order in which they are tried."""
    words = dict(triggers.TRIGGERS)
    words["doubt" if dialect == "report" else "denial"] += f"|{triggers.DOUBT_IN_REPORTS}"
    if dialect == "query":
        words["denial"] += f"|{triggers.DENIAL_IN_QUERIES}"
        words["doubt"] += f"|{triggers.DOUBT_IN_QUERIES}"
    first = [(name, "", words.pop(name)) for name in ("empty", "silence_back", "doubt_back", "denial_back")]
    findings = [("finding", head, pattern) for head, pattern in WORDS_OF_HEAD.items()]
    subjects = [("subject", name, pattern) for name, pattern in SUBJECTS.items()]
    predicates = [("predicate", name, pattern) for name, pattern in PREDICATES.items()]
    doubts = [("doubt", "versus", "versus|vs"), ("doubt", "adjective", r"suspicious(?! for| of)")]
    cues = "|".join((*triggers.SIDES.values(), "mild(?:ly)?", "moderate(?:ly)?", "severe(?:ly)?", triggers.OTHER_CUES))
    last = [
        ("cue", "size", triggers.SIZES),
        ("cue", "", cues),
        ("verb", "", triggers.VERBS),
        ("and", "", "and"),
        ("or", "", "or"),
    ]
    first = [
        ("denial", "", triggers.DENIED_LIST),
        *first,
        ("answer", "", triggers.ANSWER),
        ("end", "except", triggers.EXCEPT),
    ]
    return [*first, *predicates, *findings, *doubts, *((k, "", p) for k, p in words.items()), *subjects, *last]


_KINDS: dict[Dialect, list[tuple[str, str, str]]] = {dialect: _kinds(dialect) for dialect in ("report", "query")}
_PUNCTUATION = {",": "comma", "(": "comma", ")": "comma", ":": "comma", "&": "and", "/": "and", "?": "question"}
# Further marks begin something new, as "plus" does, but are no range ("5–6 mm").
_MARK = r"[,()&:?]|(?<=[a-z])/(?=[a-z]{3})|(?<=[a-z]) / (?=[a-z]{3})|\+|[–—](?! ?\w?\d)|(?<= )-+(?= )"


@functools.cache
def _scanner(dialect: Dialect) -> re.Pattern[str]:
    groups = "|".join(f"(?P<g{number}>{pattern})" for number, (_, _, pattern) in enumerate(_KINDS[dialect]))
    return re.compile(rf"(?<![\w])(?:{groups})(?![\w])|(?P<mark>{_MARK})")


def _to_event(match: re.Match[str]) -> Event:
    group = str(match.lastgroup)
    if group == "mark":
        mark = match.group().strip()
        return Event(_PUNCTUATION.get(mark, "and"), mark if mark in _PUNCTUATION else "new", match.start(), match.end())
    kind, value, _ = _KINDS["report"][int(group[1:])]
    return Event(kind, value, match.start(), match.end())
