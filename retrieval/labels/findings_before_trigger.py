"""Findings before a trigger that it governs: "pneumothorax or effusion is not seen"."""

from __future__ import annotations

import itertools
import re

from retrieval.labels.kinds import COMMAS, CONJUNCTIONS, NEGATIONS_AHEAD, TERMINATIONS, UNCERTAINTIES_AHEAD, Kind
from retrieval.labels.scan_state import Effect, Mention, ScanState, Scope
from retrieval.labels.spans import ADJACENT, Span, gap

_SINGULAR = re.compile(r"(?:is|was|has)\b")
_SIDE = re.compile(r"(?:left|right)\b")
_BARRIERS = TERMINATIONS | NEGATIONS_AHEAD | {Kind.PREDICATE, Kind.FINDING, Kind.STRUCTURE}
_BARRIERS_IN_LISTS = _BARRIERS | UNCERTAINTIES_AHEAD | {Kind.VERB, Kind.RELATIVE_PRONOUN, Kind.QUESTION_MARK}
_JOINS = CONJUNCTIONS | {Kind.OR}


def apply_to_findings_before(state: ScanState, index: int, effect: Effect) -> None:
    """Give `effect` to the finding before the span `index` and to those that a list joins to it; the statement ends."""
    trigger = state.spans[index]
    scope = Scope(trigger, effect, trigger.start, trigger.start)
    state.every_scope.append(scope)
    if _asks_about_structure(state, index):
        _set_structure(state, scope)
    else:
        _set_findings(state, index, scope)
    state.close_scopes(trigger.start)


def apply_to_finding_directly_before(state: ScanState, index: int, effect: Effect) -> None:
    """Give `effect` to the present finding directly before the span `index`, if there is one."""
    trigger = state.spans[index]
    if state.mentions:
        last = state.mentions[-1]
        neighbour = state.spans[last.index]
        if last.status == "present" and gap(neighbour, trigger) <= ADJACENT:
            scope = Scope(trigger, effect, neighbour.start, trigger.start)
            state.every_scope.append(scope)
            _set_status(last, scope)


def _set_status(mention: Mention, scope: Scope) -> None:
    mention.status, mention.scope = scope.effect.status, scope


def _set_findings(state: ScanState, index: int, scope: Scope) -> None:
    place, has_join = index, False
    for mention in reversed(state.mentions):
        between = state.spans[mention.index + 1 : place]
        has_join |= any(each.kind in _JOINS for each in between)
        in_list = place != index
        if in_list and _parts_list(state, index, between, scope.effect, has_join=has_join):
            break
        if _passes_to_other_side(state.sentence, between) or _is_barred(state, index, between, in_list=in_list):
            break
        if state.spans[mention.index].kind is not Kind.FINDING:
            break
        scope.start = state.spans[mention.index].start
        if mention.status != "absent" and not (mention.status is None and scope.effect is Effect.UNCERTAIN):
            _set_status(mention, scope)
        place = mention.index


def _parts_list(state: ScanState, index: int, between: tuple[Span, ...], effect: Effect, *, has_join: bool) -> bool:
    """Whether the finding before `between` is no entry of the list that the trigger `index` governs."""
    kinds = {each.kind for each in between}
    if Kind.COLON in kinds or (effect is Effect.ABSENT and not kinds & (COMMAS | _JOINS)):
        return True
    return bool(kinds & COMMAS) and _governs_one(state, index, has_join=has_join)


def _governs_one(state: ScanState, index: int, *, has_join: bool) -> bool:
    """Whether the trigger `index`, after a comma, governs the last finding only.

    "Cardiomegaly, pneumonia negative" negates one finding; "effusion, pneumonia: none" in a report negates both. "Effusion,
    pneumonia has resolved" and "effusion, pneumonia cannot be excluded" are about one, unless "and" or "or" makes a list.
    """
    trigger = state.spans[index]
    if trigger.kind is Kind.NEGATIVE_ANSWER:
        return state.dialect == "query" or state.spans[index - 1].kind is not Kind.COLON
    return not has_join and (
        trigger.kind is Kind.POST_UNCERTAINTY or bool(_SINGULAR.match(state.sentence, trigger.start))
    )


def _passes_to_other_side(sentence: str, between: tuple[Span, ...]) -> bool:
    """Whether `between` goes on to the other side: "effusion has increased and the left has resolved"."""
    from_verb = itertools.dropwhile(lambda each: each.kind is not Kind.VERB, between)
    from_join = itertools.dropwhile(lambda each: each.kind not in CONJUNCTIONS | COMMAS, from_verb)
    return any(_SIDE.match(sentence, each.start) for each in from_join)


def _is_barred(state: ScanState, index: int, between: tuple[Span, ...], *, in_list: bool) -> bool:
    """Whether `between` holds something that the effect of the trigger `index` does not pass."""
    kinds = {each.kind for each in between}
    barriers = _BARRIERS_IN_LISTS if in_list else _BARRIERS
    if state.spans[index].kind is Kind.QUESTION_MARK and kinds != {Kind.COLON}:
        barriers |= COMMAS  # "opacity (atelectasis?)" makes one finding uncertain
    return bool(kinds & barriers)


def _asks_about_structure(state: ScanState, index: int) -> bool:
    """Whether the span `index` asks or answers what was just said of a structure: "is the heart enlarged?"."""
    if state.spans[index].kind not in (Kind.QUESTION_MARK, Kind.NEGATIVE_ANSWER) or not state.mentions:
        return False
    return state.spans[state.mentions[-1].index].kind is Kind.PREDICATE


def _set_structure(state: ScanState, scope: Scope) -> None:
    last = state.mentions[-1].index
    for mention in state.mentions:
        if mention.index == last:
            was_absent = mention.status == "absent"  # "is the heart normal?" states nothing
            _set_status(mention, scope)
            mention.status = None if was_absent else scope.effect.status
            scope.start = (mention.structure or state.spans[last]).start
