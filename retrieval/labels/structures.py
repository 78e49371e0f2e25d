"""Assigns predicates to structures, and the findings that they state ("the heart is enlarged")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.labels.finding_words import AFFIRMED_BY, NEGATED_BY, UNCERTAIN_BY
from retrieval.labels.kinds import COMMAS, CONJUNCTIONS, Kind
from retrieval.labels.spans import ADJACENT, Span, gap
from retrieval.records import Status

_PARTIAL = re.compile(r"\b(?:otherwise|elsewhere|remain(?:der|ing)|rest|left|right|upper|lower|partially)\b")
_BEFORE_PARTIAL = 20  # characters before the structure or predicate


@dataclass(frozen=True, slots=True)
class JudgedStructure:
    """Findings that a predicate states of a structure; `is_by_scope`: their status comes from an open scope."""

    structure: Span
    heads: tuple[str, ...]
    status: Status | None
    is_by_scope: bool


def directly_precedes(sentence: str, predicate: Span, following: Span) -> bool:
    """Whether a predicate stands before its structure as an adjective does ("normal heart size")."""
    between = sentence[predicate.end : following.start]
    return following.kind is Kind.STRUCTURE and "," not in between and gap(predicate, following) <= ADJACENT


def listed_structures(spans: tuple[Span, ...], first: int) -> list[Span]:
    """The structures that a list joins to the one at `first`; a list with commas counts only if it ends with "and"."""
    structures, last, join = [spans[first]], first, None
    while last + 2 < len(spans) and spans[last + 2].kind is Kind.STRUCTURE:
        join = spans[last + 1].kind
        if join not in CONJUNCTIONS | {Kind.COMMA}:
            break
        last += 2
        structures.append(spans[last])
    # "Normal heart, lungs and pleura are clear": lungs and pleura have a separate predicate.
    has_own = last + 1 < len(spans) and spans[last + 1].kind in (Kind.VERB, Kind.PREDICATE)
    has_comma = any(each.kind in COMMAS for each in spans[first:last])
    return structures[:1] if has_comma and (join not in CONJUNCTIONS or has_own) else structures


def judge_structures(
    sentence: str, predicate: Span, structures: list[Span], status: Status | None
) -> Iterator[JudgedStructure]:
    """The findings that `predicate` states of each of `structures`; `status` is that of a finding named here."""
    is_negated = status == "absent"
    for structure in structures:
        key = (structure.name, predicate.name)
        if _is_partial(sentence, structure, predicate):
            continue
        if key in NEGATED_BY and not is_negated:
            yield JudgedStructure(structure, NEGATED_BY[key], "absent", is_by_scope=False)
        elif key in AFFIRMED_BY:
            yield JudgedStructure(structure, AFFIRMED_BY[key], status, is_by_scope=True)
        elif key in UNCERTAIN_BY:
            doubted: Status = "absent" if is_negated else "uncertain"
            yield JudgedStructure(structure, UNCERTAIN_BY[key], doubted, is_by_scope=is_negated)


def _is_partial(sentence: str, structure: Span, predicate: Span) -> bool:
    """Whether a normal predicate describes a part ("the lungs are otherwise clear"), so that it negates nothing."""
    if predicate.name not in ("normal", "clear", "intact"):
        return False
    start, end = sorted((structure.start, predicate.start))
    return bool(_PARTIAL.search(sentence[max(0, start - _BEFORE_PARTIAL) : end]))
