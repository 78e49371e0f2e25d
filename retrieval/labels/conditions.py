"""Conditions of the rules in `retrieval/labels/rules.py`. Each takes the state of the scan and the index of a span."""

from __future__ import annotations

import itertools
import re

from retrieval.labels.kinds import COMMAS, CONJUNCTIONS, DESCRIPTORS, NEGATIONS_AHEAD, UNCERTAINTIES_AHEAD, Kind
from retrieval.labels.scan_state import Effect, ScanState
from retrieval.labels.spans import ADJACENT, Span, gap

_EVERY = re.compile(r"\b(?:all|any|every\w*|anything)\b")
# Between a finding and its answer: "effusion on the left: none".
_BEFORE_ANSWER = re.compile(r"(?:(?!comparison|change)[^,:]){0,24}[:=(] ?[:=]? ?| ?[-–—]? ?")
_LIST_KINDS = DESCRIPTORS | COMMAS | {Kind.FINDING, Kind.OR}
_LIST_ENDS = (
    DESCRIPTORS
    | NEGATIONS_AHEAD
    | UNCERTAINTIES_AHEAD
    | {Kind.TERMINATION, Kind.EXCEPTION, Kind.STRUCTURE, Kind.PREDICATE, Kind.HYPOTHETICAL}
)


def nothing_is_pending(state: ScanState, index: int) -> bool:
    """No trigger before says that this has not happened yet ("until the effusion has resolved")."""
    return state.governing(Effect.PENDING) is None


def finding_is_next(state: ScanState, index: int) -> bool:
    """A finding follows, with no more than an article and descriptors between."""
    following = next((each for each in state.spans[index + 1 :] if each.kind not in DESCRIPTORS), None)
    return bool(following and following.kind is Kind.FINDING and gap(state.spans[index], following) <= 2 * ADJACENT)


def finding_is_next_or_none_before(state: ScanState, index: int) -> bool:
    """`finding_is_next`, or no finding stands before."""
    return finding_is_next(state, index) or not state.mentions


def finding_follows(state: ScanState, index: int) -> bool:
    """A finding or a structure follows in the sentence ("? enlarged heart")."""
    return any(each.kind in (Kind.FINDING, Kind.STRUCTURE) for each in state.spans[index + 1 :])


def ends_with_over(state: ScanState, index: int) -> bool:
    """The trigger ends with "over": "edema is favored over pneumonia"."""
    return state.sentence.endswith("over", 0, state.spans[index].end)


def answers_finding(state: ScanState, index: int) -> bool:
    """It answers the finding before it ("effusion: none"), not something else ("effusion, CT negative")."""
    if not state.mentions:
        return False
    asked = state.spans[state.mentions[-1].index]
    return bool(_BEFORE_ANSWER.fullmatch(state.sentence[asked.end : state.spans[index].start]))


def is_bare_no(state: ScanState, index: int) -> bool:
    """It is "no" alone, and what it answers follows: "findings: no effusion: …"."""
    span = state.spans[index]
    return state.sentence[span.start : span.end] == "no"


def excludes_from_all(state: ScanState, index: int) -> bool:
    """ "Except" excludes what follows: "all cases except effusion", "opacity other than edema".

    In "all clear except for an effusion" the effusion is there.
    """
    before, span = state.spans[:index], state.spans[index]
    every = _EVERY.search(state.sentence, 0, span.start)
    other = state.sentence.startswith("other than", span.start) and before and before[-1].kind is Kind.FINDING
    return bool(every or other) and not any(each.kind in {Kind.PREDICATE, *NEGATIONS_AHEAD} for each in before)


def offers_alternative(state: ScanState, index: int) -> bool:
    """ "Or" joins the present finding directly before it to another: "atelectasis or infiltrate" affirms neither."""
    following = state.next_span(index)
    if state.status != "present" or not (following and state.mentions):
        return False
    last = state.mentions[-1]
    is_near = gap(state.spans[last.index], state.spans[index]) <= ADJACENT
    follows = following.kind is Kind.FINDING or following.kind in DESCRIPTORS
    return follows and is_near and last.index == index - 1 and last.status == "present"


def and_begins_statement(state: ScanState, index: int) -> bool:
    """What follows "and" is not part of a negated or uncertain list."""
    if state.has_verb:
        return True
    following = state.next_span(index)
    return following is not None and following.kind in DESCRIPTORS | {Kind.STRUCTURE, Kind.PREDICATE}


def descriptors_begin_statement(state: ScanState, index: int) -> bool:
    """Only descriptors stand between the last negated finding and this one: "no pneumothorax small left effusion"."""
    if not (state.is_negated and state.mentions):
        return False
    between = state.spans[state.mentions[-1].index + 1 : index]
    return bool(between) and all(each.kind in DESCRIPTORS for each in between)


def structure_begins_statement(state: ScanState, index: int) -> bool:
    """A verb or predicate follows the structure, after a finding: "no effusion the heart is enlarged"."""
    following = state.next_span(index)
    return bool(state.names_finding and following and following.kind in (Kind.VERB, Kind.PREDICATE))


def list_ends(state: ScanState, index: int) -> bool:
    """What follows a comma is not one more negated or uncertain finding."""
    return not _list_continues(state, index)


def _list_continues(state: ScanState, index: int) -> bool:
    is_uncertain = state.governing(Effect.UNCERTAIN) is not None
    if state.has_verb or not (state.is_negated or is_uncertain):
        return False
    findings = commas = 0
    for place, span in enumerate(state.spans[index + 1 :], start=index + 1):
        kind = span.kind
        if kind is Kind.FINDING:
            findings += 1
        elif kind is Kind.OR:
            return True
        elif kind in CONJUNCTIONS and kind is not Kind.NEW_ITEM:
            # "No effusion, edema, and nodule" negates all; "no effusion, and nodule" may not.
            return findings > 0 or (state.in_list and not and_begins_statement(state, place))
        elif kind is Kind.SUSPICIOUS and state.is_negated:
            continue  # "no consolidation, suspicious nodule, or effusion"
        elif kind in DESCRIPTORS and (
            not state.names_finding or _is_list_scope(state) or (kind is Kind.SIZE and _or_follows(state, span))
        ):
            continue  # "no small, moderate or large effusion", "no effusion, large nodule or edema"
        elif kind in _LIST_ENDS:
            # "No effusion, pneumothorax, mild scarring": the list ends at the comma before "mild", not at the first.
            return commas > 0 and _is_bare_list(state, findings)
        elif kind is Kind.VERB:
            return _is_bare_list(state, findings)
        elif kind in COMMAS:
            if not findings:
                return True
            commas += 1
    return _is_bare_list(state, findings)


def _is_bare_list(state: ScanState, findings: int) -> bool:
    """Reports negate lists without "or" at their end; in a query that would be a guess."""
    return state.dialect == "report" and (state.is_negated or _is_list_scope(state)) and findings > 0


def _is_list_scope(state: ScanState) -> bool:
    return any(scope.is_list for scope in state.scopes)


def _or_follows(state: ScanState, span: Span) -> bool:
    """Whether "or" follows `span` before anything that ends a list."""
    rest = itertools.dropwhile(lambda each: each.start <= span.start, state.spans)
    return any(each.kind is Kind.OR for each in itertools.takewhile(lambda each: each.kind in _LIST_KINDS, rest))
