"""Findings that are said of a structure: which structures a predicate is said of, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterator

from retrieval.labels.finding_words import DENIED_BY, DOUBTED_BY, FOUND_BY
from retrieval.labels.spans import ADJACENT, Event, gap, is_partial
from retrieval.records import Status


def directly_precedes(sentence: str, event: Event, following: Event) -> bool:
    """Whether a predicate stands before its structure as an adjective does ("normal heart size")."""
    between = sentence[event.end : following.start]
    return following.kind == "subject" and "," not in between and gap(event, following) <= ADJACENT


def listed_subjects(events: tuple[Event, ...], first: int) -> list[Event]:
    """The structures that a list joins to the one at `first`; over commas only if an "and" ends the list."""
    subjects, last, joint = [events[first]], first, ""
    while last + 2 < len(events) and events[last + 2].kind == "subject":
        joint = events[last + 1].kind
        if joint not in ("and", "comma") or events[last + 1].value == ":":
            break
        last += 2
        subjects.append(events[last])
    # "Normal heart, lungs and pleura are clear."
    own = last + 1 < len(events) and events[last + 1].kind in ("verb", "predicate")
    if "comma" in {each.kind for each in events[first:last]} and (joint != "and" or own):
        return subjects[:1]
    return subjects


def judge_structures(
    sentence: str, predicate: Event, subjects: list[Event], status: Status | None
) -> Iterator[tuple[tuple[str, ...], Status | None]]:
    """Heads and their status, as `predicate` said of each of `subjects` makes them; `status` is that of a finding here."""
    denied = status == "absent"
    for subject in subjects:
        said = (subject.value, predicate.value)
        if is_partial(sentence, subject, predicate):
            continue
        if said in DENIED_BY and not denied:
            yield DENIED_BY[said], "absent"
        elif said in FOUND_BY:
            yield FOUND_BY[said], status
        elif said in DOUBTED_BY:
            yield DOUBTED_BY[said], "absent" if denied else "uncertain"
