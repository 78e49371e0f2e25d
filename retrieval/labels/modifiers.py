"""The side and the severity that a sentence gives a finding."""

from __future__ import annotations

import re

from retrieval.labels import triggers
from retrieval.labels.spans import Event

_WORDS_BEFORE, _WORDS_AFTER = 4, 6
_UNSIDED = {"Cardiomegaly", "Enlarged Cardiomediastinum", "Heart Failure", "Hernia, Hiatal", "Pericardial Effusion"}


def describe(sentence: str, events: tuple[Event, ...], index: int, head: str) -> tuple[str, str]:
    """Side and severity said with `head` at the event `index`, empty where none is.

    They are sought a few words before and after it, not past another finding or a boundary.
    """
    event = events[index]
    boundaries = {"comma", "and", "or", "end", "either_way", "relative", "denial", "doubt", "question"}
    boundaries |= {"finding", "subject", "predicate"}
    before = max((e.end for e in events[:index] if e.kind in boundaries and e.value != "/"), default=0)
    after = min(
        (e.start for e in events[index + 1 :] if e.kind in boundaries and e.value != "/"), default=len(sentence)
    )
    words = " ".join(sentence[before : event.start].split()[-_WORDS_BEFORE:])
    later = " ".join(sentence[event.end : after].split()[:_WORDS_AFTER])
    sides = {
        name
        for name, pattern in _SIDE.items()
        if pattern.search(f"{words} {sentence[event.start : event.end]} {later}")
    }
    side = "bilateral" if len(sides) > 1 else next(iter(sides), "")
    severity = next((name for name, pattern in _SEVERITY.items() if pattern.search(words)), "")
    return ("" if head in _UNSIDED else side), severity


def describe_denied(sentence: str, events: tuple[Event, ...], index: int, head: str) -> tuple[str, str]:
    """As `describe`, of a finding that is denied: empty, too, where the sentence denies it of any side or severity."""
    if _ANY_MARK.search(sentence):
        return "", ""
    following = next((each for each in events[index + 1 :] if each.kind != "cue"), None)
    if following and following.kind == "finding":  # in "no pneumothorax left effusion" the side is that of the effusion
        events, sentence = events[: index + 1], sentence[: events[index].end]
    return describe(sentence, events, index, head)


def _whole(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b")


_SIDE = {name: _whole(words) for name, words in triggers.SIDES.items()}
_SEVERITY = {name: _whole(words) for name, words in triggers.SEVERITIES.items()}
# "No left or right effusion", "no small to moderate effusion", "not even a small effusion": no effusion at all.
_MARK = "|".join((*triggers.SIDES.values(), *triggers.SEVERITIES.values()))
_ANY_MARK = _whole(
    rf"(?:{_MARK})(?: and/or | or | nor | and | to |, (?:or )?| ?/ ?|-to-)(?:the )?(?:{_MARK})|even|either"
)
