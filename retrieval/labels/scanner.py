"""The findings of one sentence with their status: one pass over its spans that applies the table of rules.

The method is that of NegEx: a trigger negates the findings that follow (some triggers: those before) until its scope ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.labels.findings_before_trigger import apply_to_finding_directly_before, apply_to_findings_before
from retrieval.labels.kinds import COMMAS, Dialect, Kind
from retrieval.labels.rules import RULES, Direction, Rule
from retrieval.labels.scan_state import Mention, ScanState, Scope
from retrieval.labels.spans import Span, find_spans, gap
from retrieval.labels.structures import directly_precedes, judge_structures, listed_structures


@dataclass(frozen=True, slots=True)
class Scan:
    """The spans of a sentence, the findings that it mentions in the order of the text, and the scopes of its triggers."""

    spans: tuple[Span, ...]
    mentions: tuple[Mention, ...] = ()
    scopes: tuple[Scope, ...] = ()


def scan_sentence(sentence: str, dialect: Dialect) -> Scan:
    """Findings of a sentence in lower case (`read_sentences`) and their status."""
    spans = find_spans(sentence, dialect)
    if not any(each.kind in (Kind.FINDING, Kind.STRUCTURE) for each in spans):
        return Scan(spans)
    state = ScanState(sentence, spans, dialect)
    for index, span in enumerate(spans):
        rule = _choose_rule(state, index)
        if rule:
            _apply(rule, state, index)
        if span.kind is Kind.FINDING:
            _add(state, Mention((span.name,), state.status, index, state.scope))
        elif span.kind is Kind.STRUCTURE:
            _read_structure(state, index)
        elif span.kind is Kind.PREDICATE:
            _read_predicate(state, index)
        elif span.kind is Kind.VERB:
            state.has_verb = state.names_finding
        elif span.kind in COMMAS:
            state.in_list = rule is None
            _drop_structures(state, index)
    return Scan(spans, tuple(sorted(state.mentions, key=lambda each: each.index)), tuple(state.every_scope))


def _choose_rule(state: ScanState, index: int) -> Rule | None:
    """The first rule for the span whose condition holds."""
    for rule in RULES[state.dialect].get(state.spans[index].kind, ()):
        if rule.condition is None or rule.condition(state, index):
            return rule
    return None


def _apply(rule: Rule, state: ScanState, index: int) -> None:
    trigger = state.spans[index]
    if rule.closes:
        state.close_scopes(trigger.start, rule.closes)
    if rule.effect is None:
        return
    if rule.direction in (Direction.BACKWARD, Direction.BACKWARD_AND_FORWARD):
        apply_to_findings_before(state, index, rule.effect)
    if rule.direction is Direction.NEIGHBOUR_AND_FORWARD:
        apply_to_finding_directly_before(state, index, rule.effect)
    if rule.direction is not Direction.BACKWARD:
        state.open_scope(trigger, rule.effect, is_list=rule.is_list)


def _add(state: ScanState, mention: Mention) -> None:
    state.mentions.append(mention)
    state.names_finding = True


def _read_structure(state: ScanState, index: int) -> None:
    """Let the structure wait for a predicate, beside those before it that wait for the same one."""
    if state.has_predicate:
        state.structures, state.has_predicate = [], False
    state.structures.append(state.spans[index])
    state.has_verb = False


def _drop_structures(state: ScanState, index: int) -> None:
    """Forget the structures that wait for a predicate if a comma parts them from what follows."""
    comma = state.spans[index]
    if (
        comma.kind is Kind.COMMA
        and state.structures
        and gap(state.structures[-1], comma) > 1
        and not state.has_predicate
    ):
        state.structures = []


def _read_predicate(state: ScanState, index: int) -> None:
    """Judge the structure that the predicate directly precedes, or else those before it that wait for one."""
    spans, following = state.spans, state.next_span(index)
    waits = bool(state.structures) and not state.has_predicate
    # "Heart size normal lungs clear": each structure has a separate predicate.
    has_own = waits and index + 2 < len(spans) and spans[index + 2].kind is Kind.PREDICATE
    if following and not has_own and directly_precedes(state.sentence, spans[index], following):
        _judge(state, listed_structures(spans, index + 1), index)
    elif waits:
        _judge(state, state.structures, index)
        state.has_predicate = True
        state.close_scopes(spans[index].end)


def _judge(state: ScanState, structures: list[Span], index: int) -> None:
    for judged in judge_structures(state.sentence, state.spans[index], structures, state.status):
        scope = state.scope if judged.is_by_scope else None
        _add(state, Mention(judged.heads, judged.status, index, scope, judged.structure))
