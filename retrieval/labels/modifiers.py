"""Side and severity of a finding, from the words around it in its sentence."""

from __future__ import annotations

import re
from typing import Literal

from retrieval.labels.descriptor_words import WORDS_OF_SEVERITY, WORDS_OF_SIDE
from retrieval.labels.kinds import COMMAS, DESCRIPTORS, NAMED, NEGATIONS_AHEAD, TERMINATIONS, UNCERTAINTIES_AHEAD, Kind
from retrieval.labels.laterality import Side
from retrieval.labels.spans import Span

_WORDS_BEFORE, _WORDS_AFTER = 4, 6
_WITHOUT_SIDE = {
    "Cardiomegaly",
    "Enlarged Cardiomediastinum",
    "Heart Failure",
    "Hernia, Hiatal",
    "Pericardial Effusion",
}


# No side or severity is taken from beyond one of these. A slash is none: "left/right".
_BOUNDARIES = (
    COMMAS
    | NAMED
    | TERMINATIONS
    | NEGATIONS_AHEAD
    | UNCERTAINTIES_AHEAD
    | {Kind.AND, Kind.NEW_ITEM, Kind.OR, Kind.WITH_OR_WITHOUT, Kind.RELATIVE_PRONOUN, Kind.QUESTION_MARK}
)


def read_modifiers(sentence: str, spans: tuple[Span, ...], index: int, head: str) -> tuple[Side | Literal[""], str]:
    """Side and severity of `head`, named by the span `index`; the empty string where the sentence gives none.

    They stand up to four words before the finding or, for the side, up to six after it, and not beyond a boundary.
    """
    span = spans[index]
    start = max((each.end for each in spans[:index] if each.kind in _BOUNDARIES), default=0)
    end = min((each.start for each in spans[index + 1 :] if each.kind in _BOUNDARIES), default=len(sentence))
    before = " ".join(sentence[start : span.start].split()[-_WORDS_BEFORE:])
    after = " ".join(sentence[span.end : end].split()[:_WORDS_AFTER])
    words = f"{before} {sentence[span.start : span.end]} {after}"
    sides = {name for name, pattern in _SIDE.items() if pattern.search(words)}
    side: Side | Literal[""] = "bilateral" if len(sides) > 1 else next(iter(sides), "")
    severity = next((name for name, pattern in _SEVERITY.items() if pattern.search(before)), "")
    return ("" if head in _WITHOUT_SIDE else side), severity


def read_denied_modifiers(
    sentence: str, spans: tuple[Span, ...], index: int, head: str
) -> tuple[Side | Literal[""], str]:
    """As `read_modifiers`, for a negated finding; empty if the sentence negates it for every side or severity."""
    if _ANY_MODIFIER.search(sentence):
        return "", ""
    following = next((each for each in spans[index + 1 :] if each.kind not in DESCRIPTORS), None)
    if following and following.kind is Kind.FINDING:  # in "no pneumothorax left effusion" the effusion is on the left
        spans, sentence = spans[: index + 1], sentence[: spans[index].end]
    return read_modifiers(sentence, spans, index, head)


def _whole(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b")


_SIDE = {name: _whole(words) for name, words in WORDS_OF_SIDE.items()}
_SEVERITY = {name: _whole(words) for name, words in WORDS_OF_SEVERITY.items()}
# "No left or right effusion", "no small to moderate effusion", "not even a small effusion" exclude any effusion.
_MODIFIER = "|".join((*WORDS_OF_SIDE.values(), *WORDS_OF_SEVERITY.values()))
_ANY_MODIFIER = _whole(
    rf"(?:{_MODIFIER})(?: and/or | or | nor | and | to |, (?:or )?| ?/ ?|-to-)(?:the )?(?:{_MODIFIER})|even|either"
)
