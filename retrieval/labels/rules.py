"""The rules of negation and uncertainty: one table, from the kind of a span to its effect.

`RULES` has one row for each kind of trigger: the direction of its scope, the effect in it, and the scopes that it ends. A
kind with several rules uses the first whose condition holds. The words of each kind are in `retrieval/labels/triggers.py`;
`retrieval/labels/scanner.py` applies the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from retrieval.labels import conditions as when
from retrieval.labels.kinds import Dialect, Kind
from retrieval.labels.scan_state import EVERY_EFFECT, Effect, ScanState


class Direction(Enum):
    """Which findings a trigger governs."""

    FORWARD = "forward"
    """Those that follow, until another rule ends the scope."""
    BACKWARD = "backward"
    """The one before it and those that a list joins to it; the statement ends with the trigger."""
    BACKWARD_AND_FORWARD = "backward_and_forward"
    """As `BACKWARD`, and those that follow."""
    NEIGHBOUR_AND_FORWARD = "neighbour_and_forward"
    """The one directly before it, if it is present, and those that follow."""
    NONE = "none"


Condition = Callable[[ScanState, int], bool]
"""Takes the state of the scan and the index of the trigger."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a span does if `condition` holds: it closes open scopes, then gives its effect to findings in its direction."""

    direction: Direction = Direction.NONE
    effect: Effect | None = None
    closes: frozenset[Effect] = frozenset()
    condition: Condition | None = None
    is_list: bool = False
    """The effect holds for every entry of the list that follows, with or without an "or" at its end."""


_FORWARD, _BACKWARD = Direction.FORWARD, Direction.BACKWARD
_BOTH, _NEIGHBOUR = Direction.BACKWARD_AND_FORWARD, Direction.NEIGHBOUR_AND_FORWARD
_ABSENT, _UNCERTAIN, _UNSTATED = Effect.ABSENT, Effect.UNCERTAIN, Effect.UNSTATED
_ALL = EVERY_EFFECT
_ENDS = Rule(closes=_ALL)

# fmt: off
_IN_BOTH: dict[Kind, tuple[Rule, ...]] = {
    # kind                           direction   effect        ends open scopes  condition
    Kind.PRE_NEGATION:              (Rule(_FORWARD,   _ABSENT,     closes=_ALL),),
    Kind.LIST_NEGATION:             (Rule(_FORWARD,   _ABSENT,     closes=_ALL),),
    Kind.POST_NEGATION:             (Rule(_BACKWARD,  _ABSENT,     condition=when.nothing_is_pending),),
    Kind.BIDIRECTIONAL_NEGATION:    (Rule(_FORWARD,   _ABSENT,     condition=when.finding_is_next),
                                     Rule(_BACKWARD,  _ABSENT)),
    Kind.NEGATIVE_ANSWER:           (Rule(_BACKWARD,  _ABSENT,     condition=when.answers_finding),
                                     Rule(_FORWARD,   _ABSENT,     closes=_ALL, condition=when.is_bare_no)),
    Kind.PSEUDO_NEGATION:           (),
    Kind.PRE_UNCERTAINTY:           (Rule(_FORWARD,   _UNCERTAIN),),
    Kind.SUSPICIOUS:                (Rule(_FORWARD,   _UNCERTAIN),),
    Kind.LIST_UNCERTAINTY:          (Rule(_FORWARD,   _UNCERTAIN,  is_list=True),),
    Kind.POST_UNCERTAINTY:          (Rule(_BOTH,      _UNCERTAIN,  condition=when.ends_with_over),
                                     Rule(_BACKWARD,  _UNCERTAIN)),
    Kind.BIDIRECTIONAL_UNCERTAINTY: (Rule(_FORWARD,   _UNCERTAIN,  condition=when.finding_is_next_or_none_before),
                                     Rule(_BACKWARD,  _UNCERTAIN)),
    Kind.QUESTION_MARK:             (Rule(_FORWARD,   _UNCERTAIN,  closes=_ALL, condition=when.finding_follows),
                                     Rule(_BACKWARD,  _UNCERTAIN)),
    Kind.VERSUS:                    (Rule(_NEIGHBOUR, _UNCERTAIN),),
    Kind.NOT_ASSESSABLE:            (Rule(_BACKWARD,  _UNSTATED),),
    Kind.PENDING:                   (Rule(_FORWARD,   Effect.PENDING),),
    Kind.TERMINATION:               (_ENDS,),
    Kind.RELATIVE_PRONOUN:          (_ENDS,),
    Kind.NEW_ITEM:                  (_ENDS,),
    Kind.AND:                       (Rule(closes=_ALL, condition=when.and_begins_statement),),
    Kind.COMMA:                     (Rule(closes=_ALL, condition=when.list_ends),),
    Kind.COLON:                     (Rule(closes=_ALL, condition=when.list_ends),),
    Kind.FINDING:                   (Rule(closes=_ALL, condition=when.descriptors_begin_statement),),
    Kind.STRUCTURE:                 (Rule(closes=_ALL, condition=when.structure_begins_statement),),
}

# Where reports and queries differ: a report describes what was found, a query asks.
_IN_REPORTS: dict[Kind, tuple[Rule, ...]] = {
    Kind.HYPOTHETICAL:              (Rule(_FORWARD,   _UNSTATED),),
    Kind.WITH_OR_WITHOUT:           (Rule(_FORWARD,   _UNCERTAIN,  closes=_ALL),),
    Kind.EXCEPTION:                 (_ENDS,),
    Kind.OR:                        (Rule(_NEIGHBOUR, _UNCERTAIN,  condition=when.offers_alternative),),
}
_IN_QUERIES: dict[Kind, tuple[Rule, ...]] = {
    Kind.HYPOTHETICAL:              (Rule(closes=frozenset({_UNSTATED})),),
    Kind.WITH_OR_WITHOUT:           (Rule(_FORWARD,   _UNSTATED,   closes=_ALL),),
    Kind.EXCEPTION:                 (Rule(_FORWARD,   _ABSENT,     closes=_ALL, condition=when.excludes_from_all),
                                     _ENDS),
    Kind.OR:                        (),
}
# fmt: on

RULES: dict[Dialect, dict[Kind, tuple[Rule, ...]]] = {
    "report": _IN_BOTH | _IN_REPORTS,
    "query": _IN_BOTH | _IN_QUERIES,
}
