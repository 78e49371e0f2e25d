"""Findings that a query asks for, and findings that it denies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.labels.assertions import Assertion, read_assertions
from retrieval.labels.kinds import COMMAS, NAMED, NEGATIONS_AHEAD, TERMINATIONS, Kind
from retrieval.labels.language import is_english
from retrieval.labels.report_labels import LONGEST_TEXT
from retrieval.labels.sentences import read_sentences
from retrieval.labels.spans import find_spans
from retrieval.labels.vocabulary import unique


@dataclass(frozen=True, slots=True)
class Mentions:
    """Findings that a query asks for or denies: Indiana heads, and `Enlarged Cardiomediastinum`, which has none.

    `uncertain` are the findings of `asked` that the query calls possible. `denied` are named as in filters: with the side,
    or else the severity, if only that is denied (`Pleural Effusion/left`). `unread` are negations, in lower case, that name
    no known finding: misspelt words, other words, things without a label. A query that is not `english` is not read.
    """

    asked: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    english: bool = True


def find_mentions(text: str) -> Mentions:
    """The findings that a query names. A finding that is asked for anywhere is not denied, but another side of it may be.

    "Rule out pneumonia" asks for pneumonia, as an indication does; "pneumonia ruled out" denies it. After a negation, a list
    continues over commas only if "or", "nor" or "and" follows: "no effusion, cardiomegaly" asks for cardiomegaly. After
    "no:" it always continues. "No left effusion" denies left and bilateral effusions, and no others.
    """
    text = spell_out(text[:LONGEST_TEXT])
    if not is_english(text):
        return Mentions(unread=unique(_unread(text)), english=False)
    assertions = tuple(read_assertions(text, "query"))
    asked = unique(each.head for each in assertions if each.status != "absent")
    present = [each for each in assertions if each.status == "present"]
    sure = {each.head for each in present}
    kept = {*asked, *(f"{each.head}/{modifier}" for each in present for modifier in _modifiers(each))}
    return Mentions(
        asked=asked,
        uncertain=tuple(head for head in asked if head not in sure),
        denied=unique(name for each in assertions if each.status == "absent" for name in _denied(each, kept)),
        unread=unique(_unread(text)),
    )


_NEGATION_ENDS = COMMAS | TERMINATIONS | NEGATIONS_AHEAD | {Kind.RELATIVE_PRONOUN, Kind.QUESTION_MARK}
# "no: effusion, edema", "without [effusion, edema]"
_LISTED = re.compile(
    r"(?i:(?<![^\s.;,])(?:no|not|without|exclud(?:e|ing)|absent|negatives?))\s*(?::\s*\[?|\[)([^.;:?\[\]\n]+)\]?"
)
# "-effusion", "!effusion", as other search engines read them; not "right -sided".
_MINUS = re.compile(r"(?<!\S)[-!](?!sided\b)(?=[A-Za-z]{3})")


def spell_out(text: str) -> str:
    """`text` with negations by marks written as words: "no: a, b" and "-a" become "no a"."""
    listed = _LISTED.sub(lambda list_: ", ".join(f"no {each.strip()}" for each in list_[1].split(",")), text)
    return _MINUS.sub("no ", listed)


def _unread(text: str) -> Iterator[str]:
    """Negations that name no finding."""
    for sentence in read_sentences(text):
        spans = find_spans(sentence, "query")
        for index, span in enumerate(spans):
            if span.kind not in NEGATIONS_AHEAD:
                continue
            end = next((n for n in range(index + 1, len(spans)) if spans[n].kind in _NEGATION_ENDS), len(spans))
            if any(each.kind in NAMED for each in spans[index:end]):
                continue
            stop = spans[end].start if end < len(spans) else len(sentence)
            if sentence[span.end : stop].strip():
                yield sentence[span.start : stop].strip()


def _modifiers(assertion: Assertion) -> list[str]:
    return [modifier for modifier in (assertion.side, assertion.severity) if modifier]


def _denied(assertion: Assertion, kept: set[str]) -> list[str]:
    """A denied finding as filters name it, with its first modifier that is not asked for; empty if all is asked for."""
    head = assertion.head
    names = [f"{head}/{modifier}" for modifier in _modifiers(assertion)] or [head]
    names = [name for name in names if name not in kept][:1]
    if names and names[0].endswith(("/left", "/right")):  # a bilateral finding is on that side, too
        names += {f"{head}/bilateral"} - kept
    return names
