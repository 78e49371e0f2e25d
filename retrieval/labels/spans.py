"""The spans of a sentence: findings, structures, triggers and joining words, with their kind and place."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from retrieval.labels import triggers
from retrieval.labels.descriptor_words import OTHER_DESCRIPTORS, SIZES, VERBS, WORDS_OF_SIDE
from retrieval.labels.finding_words import PREDICATES, STRUCTURES, WORDS_OF_HEAD
from retrieval.labels.kinds import Dialect, Kind

ADJACENT = 12
"""Characters between an adjective and its noun ("normal heart size"), or between the two sides of "versus", at most."""


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a sentence, and what they do there.

    `name` is the head of a finding (`Pleural Effusion`), the structure (`heart`) or the predicate (`normal`); the empty
    string for all other kinds.
    """

    kind: Kind
    name: str
    start: int
    end: int


def gap(one: Span, other: Span) -> int:
    """Characters between the end of `one` and the start of `other`."""
    return other.start - one.end


@functools.lru_cache(maxsize=256)  # a query is scanned twice: for its findings, and for negations that name none
def find_spans(sentence: str, dialect: Dialect) -> tuple[Span, ...]:
    """The spans of a sentence in lower case, in order; they do not overlap."""
    return tuple(_to_span(match, dialect) for match in _scanner(dialect).finditer(sentence))


def is_in_span(text: str, position: int) -> bool:
    """Whether `position` of `text`, in lower case, is part of a span of the query dialect."""
    return any(start <= position < end for start, end in _query_spans(text))


@functools.lru_cache(maxsize=1)
def _query_spans(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(match.span() for match in _scanner("query").finditer(text))


@functools.cache
def _patterns(dialect: Dialect) -> tuple[tuple[Kind, str, str], ...]:
    """Kind, name and regular expression of every span, in the order in which they are tried at one place."""
    added = triggers.ONLY_IN_REPORTS if dialect == "report" else triggers.ONLY_IN_QUERIES

    def trigger_patterns(table: dict[Kind, triggers.Patterns]) -> list[tuple[Kind, str, str]]:
        return [(kind, "", "|".join((*patterns, *added.get(kind, ())))) for kind, patterns in table.items()]

    return (
        *trigger_patterns(triggers.BEFORE_FINDINGS),
        *((Kind.PREDICATE, name, pattern) for name, pattern in PREDICATES.items()),
        *((Kind.FINDING, head, pattern) for head, pattern in WORDS_OF_HEAD.items()),
        *trigger_patterns(triggers.AFTER_FINDINGS),
        *((Kind.STRUCTURE, name, pattern) for name, pattern in STRUCTURES.items()),
        (Kind.SIZE, "", SIZES),
        (Kind.DESCRIPTOR, "", "|".join((*WORDS_OF_SIDE.values(), *_DEGREES, OTHER_DESCRIPTORS))),
        (Kind.VERB, "", VERBS),
        (Kind.AND, "", "and"),
        (Kind.OR, "", "or"),
    )


_DEGREES = ("mild(?:ly)?", "moderate(?:ly)?", "severe(?:ly)?")
_KIND_OF_MARK = {
    ",": Kind.COMMA,
    "(": Kind.COMMA,
    ")": Kind.COMMA,
    ":": Kind.COLON,
    "&": Kind.AND,
    "/": Kind.SLASH,
    "?": Kind.QUESTION_MARK,
}
# Other marks begin a new item, as "plus" does, except in a range ("5–6 mm").
_MARK = r"[,()&:?]|(?<=[a-z])/(?=[a-z]{3})|(?<=[a-z]) / (?=[a-z]{3})|\+|[–—](?! ?\w?\d)|(?<= )-+(?= )"


@functools.cache
def _scanner(dialect: Dialect) -> re.Pattern[str]:
    groups = "|".join(f"(?P<g{number}>{pattern})" for number, (_, _, pattern) in enumerate(_patterns(dialect)))
    return re.compile(rf"(?<![\w])(?:{groups})(?![\w])|(?P<mark>{_MARK})")


def _to_span(match: re.Match[str], dialect: Dialect) -> Span:
    group = str(match.lastgroup)
    if group == "mark":
        kind = _KIND_OF_MARK.get(match.group().strip(), Kind.NEW_ITEM)
        return Span(kind, "", match.start(), match.end())
    kind, name, _ = _patterns(dialect)[int(group[1:])]
    return Span(kind, name, match.start(), match.end())
