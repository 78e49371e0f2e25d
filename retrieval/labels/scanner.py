"""The status of each finding of one sentence: a pass over its events, with what is denied and doubted at the moment.

Rules in the manner of NegEx: a trigger denies or doubts what follows (some: what precedes) until its scope ends.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from retrieval.labels.spans import ADJACENT, Dialect, Event, gap
from retrieval.labels.structures import directly_precedes, judge_structures, listed_subjects
from retrieval.records import Status

_OF_ONE = re.compile(r"(?:is|was|has)\b")
_LISTED = ("cue", "finding", "comma", "or")
_SIDE = re.compile(r"(?:left|right)\b")
_EVERY = re.compile(r"\b(?:all|any|every\w*|anything)\b")
_ASKS = re.compile(r"(?:(?!comparison|change)[^,:]){0,24}[:=(] ?[:=]? ?| ?[-–—]? ?")


@dataclass(slots=True)
class Found:
    """A finding at the event `index`; None for a status of which nothing is known."""

    heads: tuple[str, ...]
    status: Status | None
    index: int


def read_statuses(sentence: str, events: tuple[Event, ...], dialect: Dialect) -> list[Found]:
    """The findings among `events`, those of `sentence`, in the order of the text."""
    return sorted(_Reading(sentence, events, dialect).read(), key=lambda each: each.index)


class _Reading:
    """One pass over the events of a sentence, with what is denied and doubted at the moment."""

    def __init__(self, sentence: str, events: tuple[Event, ...], dialect: Dialect) -> None:
        self._sentence = sentence
        self._events = events
        self._dialect = dialect
        self._found: list[Found] = []
        self._subjects: list[Event] = []
        self._subjects_done = False
        self._named = self._told = False
        self._end_scope()

    def read(self) -> list[Found]:
        for index, event in enumerate(self._events):
            match event.kind:
                case "finding":
                    if self._begins_anew(index):
                        self._end_scope()
                    self._add((event.value,), self._status, index)
                case "denial":
                    self._end_scope()
                    self._denied = True
                case "doubt":
                    self._doubt(index)
                case "awaited":
                    self._awaited = True
                case "hypothesis":
                    self._supposed = self._dialect == "report"
                case "denial_back" if not self._awaited:
                    self._back(index, "absent")
                case "doubt_back":
                    self._back(index, "uncertain")
                    self._doubted = self._sentence.endswith("over", 0, event.end)
                case "silence_back":
                    self._back(index, None)
                case "denial_either" if self._precedes_finding(index):
                    self._denied = True
                case "denial_either":
                    self._back(index, "absent")
                case "doubt_either" if self._precedes_finding(index) or not self._found:
                    self._doubted = True
                case "doubt_either":
                    self._back(index, "uncertain")
                case "question" if any(each.kind in ("finding", "subject") for each in self._events[index + 1 :]):
                    self._end_scope()
                    self._doubted = True
                case "question":
                    self._back(index, "uncertain")
                case "doubt_list":
                    self._doubted = self._enumerates = True
                case "comma":
                    if self._list_goes_on(index):
                        self._listed = True
                    else:
                        self._end_scope()
                    apart = event.value != ":" and self._subjects and gap(self._subjects[-1], event) > 1
                    if apart and not self._subjects_done:
                        self._subjects = []
                case "and" if event.value != "/":
                    if event.value == "new" or not self._joins(index):
                        self._end_scope()
                case "or":
                    self._offer(index)
                case "end" | "relative":
                    self._end_scope()
                    self._denied = event.value == "except" and self._leaves_out(index)
                case "either_way":
                    self._end_scope()
                    self._supposed, self._doubted = self._dialect == "query", self._dialect == "report"
                case "answer" if self._answers(index):
                    self._back(index, "absent")
                case "answer" if self._sentence[event.start : event.end] == "no":  # "findings: no effusion: …"
                    self._end_scope()
                    self._denied = True
                case "verb":
                    self._told = self._named
                case "subject":
                    self._subject(index)
                case "predicate":
                    self._predicate(index)
        return self._found

    @property
    def _status(self) -> Status | None:
        if self._denied:
            return "absent"
        if self._supposed:
            return None
        return "uncertain" if self._doubted else "present"

    def _end_scope(self) -> None:
        self._denied = self._doubted = self._supposed = self._enumerates = self._awaited = False
        self._listed = False
        self._named = self._told = False

    def _add(self, heads: tuple[str, ...], status: Status | None, index: int) -> None:
        self._found.append(Found(heads, status, index))
        self._named = True

    def _doubt(self, index: int) -> None:
        event = self._events[index]
        self._doubted = True
        if event.value == "versus" and self._found:
            last = self._found[-1]
            if last.status == "present" and gap(self._events[last.index], event) <= ADJACENT:
                last.status = "uncertain"

    def _back(self, index: int, status: Status | None) -> None:
        """Give `status` to the finding before `index`, and to those that a list joins to it."""
        if self._asks_of_structure(index):
            self._doubt_structure(index, status)
            return
        place = index
        offered = False
        for each in reversed(self._found):
            joint = self._events[each.index + 1 : place]
            between = {event.kind for event in joint}
            offered |= bool(between & {"and", "or"})
            if (
                place != index
                and (
                    (status == "absent" and not between & {"comma", "and", "or"})
                    or self._is_separate(index, between, offered=offered)
                    or ":" in {event.value for event in joint}
                )
            ) or self._passes_side(joint):
                break
            barred = {"end", "denial", "predicate", "finding", "subject"} | (
                {"verb", "relative", "doubt", "question"} if place != index else set()
            )
            if self._events[index].kind == "question" and {event.value for event in joint} != {":"}:
                barred.add("comma")  # "opacity (atelectasis?)" doubts the one
            if between & barred or self._events[each.index].kind != "finding":
                break
            if each.status != "absent" and not (each.status is None and status == "uncertain"):
                each.status = status
            place = each.index
        self._end_scope()

    def _passes_side(self, joint: tuple[Event, ...]) -> bool:
        """Whether `joint` goes on to the other side ("effusion has increased and the left has resolved")."""
        told = itertools.dropwhile(lambda each: each.kind != "verb", joint)
        joined = itertools.dropwhile(lambda each: each.kind not in ("and", "comma"), told)
        return any(_SIDE.match(self._sentence, each.start) for each in joined)

    def _is_separate(self, index: int, between: set[str], *, offered: bool) -> bool:
        """Whether a comma divides what the trigger `index` is said of from what stands before it.

        "Cardiomegaly, pneumonia negative" denies the one; "effusion, pneumonia: none" both, if it is in a report. "Effusion,
        pneumonia has resolved" and "effusion, pneumonia cannot be excluded" are about the one, unless an "and" or "or" makes
        them a list.
        """
        event = self._events[index]
        if "comma" not in between:
            return False
        if event.kind == "answer":
            return self._dialect == "query" or self._events[index - 1].value != ":"
        return not offered and (event.kind == "doubt_back" or bool(_OF_ONE.match(self._sentence, event.start)))

    def _asks_of_structure(self, index: int) -> bool:
        """Whether `index` asks or answers what was just said of a structure ("is the heart enlarged?")."""
        if self._events[index].kind not in ("question", "answer") or not self._found:
            return False
        return self._events[self._found[-1].index].kind == "predicate"

    def _doubt_structure(self, index: int, status: Status | None) -> None:
        last = self._found[-1].index
        for each in self._found:
            if each.index == last:
                each.status = None if each.status == "absent" else status
        self._end_scope()

    def _answers(self, index: int) -> bool:
        """Whether `index` answers the finding before it ("effusion: none"), not something else ("effusion, CT negative")."""
        if not self._found:
            return False
        asked = self._events[self._found[-1].index]
        return bool(_ASKS.fullmatch(self._sentence[asked.end : self._events[index].start]))

    def _leaves_out(self, index: int) -> bool:
        """Whether "except" denies.

        It does in the queries "all cases except effusion" and "opacity other than edema", not in "all clear except for an
        effusion".
        """
        before, event = self._events[:index], self._events[index]
        every = _EVERY.search(self._sentence, 0, event.start)
        other = self._sentence.startswith("other than", event.start) and before and before[-1].kind == "finding"
        denies = bool(every) or bool(other)
        return self._dialect == "query" and denies and not any(e.kind in ("predicate", "denial") for e in before)

    def _list_goes_on(self, index: int) -> bool:
        """Whether what follows a comma is one more thing denied or doubted."""
        if self._told or not (self._denied or self._doubted):
            return False
        named = listed = 0
        for event in self._events[index + 1 :]:
            match event.kind:
                case "finding":
                    named += 1
                case "or" | "and" if event.value != "new":
                    # "No effusion, edema, and nodule" denies all; "no effusion, and nodule" may not.
                    return named > 0 or event.kind == "or" or (self._listed and self._joins(self._events.index(event)))
                case "doubt" if event.value == "adjective" and self._denied:
                    continue  # "no consolidation, suspicious nodule, or effusion"
                case "cue" if (
                    not self._named or self._enumerates or (event.value == "size" and self._offers_after(event))
                ):
                    continue  # "no small, moderate or large effusion", "no effusion, large nodule or edema"
                case "cue" | "end" | "denial" | "doubt" | "subject" | "predicate" | "hypothesis":
                    # "no effusion, pneumothorax, mild scarring": the comma before "mild" ends it, not the first.
                    return bool(listed) and self._lists_bare(named)
                case "verb":
                    return self._lists_bare(named)
                case "comma":
                    if not named:
                        return True
                    listed += 1
        return self._lists_bare(named)

    def _offers_after(self, event: Event) -> bool:
        """Whether "or" follows `event` before anything that ends a list."""
        rest = itertools.dropwhile(lambda each: each.start <= event.start, self._events)
        return any(each.kind == "or" for each in itertools.takewhile(lambda each: each.kind in _LISTED, rest))

    def _lists_bare(self, named: int) -> bool:
        """Reports deny lists without "or" at their end; of a query it would be a guess."""
        return self._dialect == "report" and (self._denied or self._enumerates) and named > 0

    def _joins(self, index: int) -> bool:
        """Whether what follows "and" is still denied or doubted."""
        if self._told:
            return False
        following = self._next(index)
        return following is None or following.kind not in ("cue", "subject", "predicate")

    def _offer(self, index: int) -> None:
        """In a report "atelectasis or infiltrate" affirms neither."""
        following = self._next(index)
        if self._dialect == "query" or self._status != "present" or not (following and self._found):
            return
        last = self._found[-1]
        near = self._events[last.index].end + ADJACENT >= self._events[index].start
        if following.kind in ("finding", "cue") and near and last.index == index - 1 and last.status == "present":
            last.status = "uncertain"
            self._doubted = True

    def _subject(self, index: int) -> None:
        event = self._events[index]
        if self._subjects_done:
            self._subjects, self._subjects_done = [], False
        following = self._next(index)
        if self._named and following and following.kind in ("verb", "predicate"):
            self._end_scope()  # "no effusion the heart is enlarged"
        self._subjects.append(event)
        self._told = False

    def _predicate(self, index: int) -> None:
        """Say `index` of the structure that it directly precedes, or else of those before it that wait for one."""
        event, following = self._events[index], self._next(index)
        waits = self._subjects and not self._subjects_done and index + 2 < len(self._events)
        # "Heart size normal lungs clear": each structure has a predicate of its own.
        apart = waits and self._events[index + 2].kind == "predicate"
        if following and not apart and directly_precedes(self._sentence, event, following):
            self._say(event, listed_subjects(self._events, index + 1), index)
            return
        if self._subjects and not self._subjects_done:
            self._say(event, self._subjects, index)
            self._subjects_done = True
            self._end_scope()

    def _say(self, predicate: Event, subjects: list[Event], index: int) -> None:
        for heads, status in judge_structures(self._sentence, predicate, subjects, self._status):
            self._add(heads, status, index)

    def _begins_anew(self, index: int) -> bool:
        """Whether adjectives alone stand between the last finding and `index` ("no pneumothorax small left effusion")."""
        if not (self._denied and self._found):
            return False
        between = self._events[self._found[-1].index + 1 : index]
        return bool(between) and all(each.kind == "cue" for each in between)

    def _precedes_finding(self, index: int) -> bool:
        """Whether a finding follows, with no more than an article and an adjective between."""
        event = self._events[index]
        following = next((each for each in self._events[index + 1 :] if each.kind != "cue"), None)
        return bool(following and following.kind == "finding" and gap(event, following) <= 2 * ADJACENT)

    def _next(self, index: int) -> Event | None:
        return self._events[index + 1] if index + 1 < len(self._events) else None
