"""What the words of a query ask for, and what they deny."""

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
    """Findings (Indiana heads, and `Enlarged Cardiomediastinum`, which has none) that a query asks for or denies.

    `uncertain` are those of `asked` that it calls possible. `denied` are named as filters name them: with the side, or else
    the severity, if only that is denied (`Pleural Effusion/left`). `unread` are denials, in lower case, that name no finding
    known here: slips of the pen, other words, things that no label tells. Of a query that is not `english` nothing is read.
    """

    asked: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    english: bool = True


def find_mentions(text: str) -> Mentions:
    """The findings that the words of a query name; what is asked for anywhere in it is not denied, but another side may be.

    "Rule out pneumonia" asks for it, as an indication does; "pneumonia ruled out" denies it. After a denial a list goes on
    over commas only to an "or", "nor" or "and": "no effusion, cardiomegaly" asks for cardiomegaly; after "no:" it goes on in
    any case. "No left effusion" denies bilateral ones, too, and no others.
    """
    text = _spell_out(text[:LONGEST_TEXT])
    if not is_english(text):
        return Mentions(unread=unique(_unread(text)), english=False)
    said = tuple(read_assertions(text, "query"))
    asked = unique(each.head for each in said if each.status != "absent")
    sure = {each.head for each in said if each.status == "present"}
    kept = {*asked, *(f"{each.head}/{mark}" for each in said if each.status == "present" for mark in _marks(each))}
    return Mentions(
        asked=asked,
        uncertain=tuple(head for head in asked if head not in sure),
        denied=unique(name for each in said if each.status == "absent" for name in _denied(each, kept)),
        unread=unique(_unread(text)),
    )


_NEGATION_ENDS = COMMAS | TERMINATIONS | NEGATIONS_AHEAD | {Kind.RELATIVE_PRONOUN, Kind.QUESTION_MARK}
# "no: effusion, edema", "without [effusion, edema]"
_LISTED = re.compile(
    r"(?i:(?<![^\s.;,])(?:no|not|without|exclud(?:e|ing)|absent|negatives?))\s*(?::\s*\[?|\[)([^.;:?\[\]\n]+)\]?"
)
# "-effusion", "!effusion", as searches elsewhere take it; but not "right -sided"
_MINUS = re.compile(r"(?<!\S)[-!](?!sided\b)(?=[A-Za-z]{3})")


def _spell_out(text: str) -> str:
    """`text` with denials that are made by marks put into words."""
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


def _marks(said: Assertion) -> list[str]:
    return [mark for mark in (said.side, said.severity) if mark]


def _denied(said: Assertion, kept: set[str]) -> list[str]:
    """A denied finding as filters name it, with the first of its marks that is not asked for; none if all is asked for."""
    marks = _marks(said)
    names = [name for name in ([f"{said.head}/{mark}" for mark in marks] or [said.head]) if name not in kept][:1]
    if names and names[0].endswith(("/left", "/right")):  # what is bilateral is on both
        names += {f"{said.head}/bilateral"} - kept
    return names
