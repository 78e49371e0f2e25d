"""The state of a scan: the mentions of findings so far, the open scopes, and the current statement."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from retrieval.labels.kinds import Dialect
from retrieval.labels.spans import Span
from retrieval.records import Status


class Effect(Enum):
    """The effect of a trigger on the findings in its scope."""

    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    UNSTATED = "unstated"
    """The sentence does not say whether the finding is there; it gets no label."""
    PENDING = "pending"
    """What follows has not happened yet, so a post-negation does not count."""

    @property
    def status(self) -> Status | None:
        """The status of a finding under this effect; None for no label."""
        match self:
            case Effect.ABSENT:
                return "absent"
            case Effect.UNCERTAIN:
                return "uncertain"
            case _:
                return None


EVERY_EFFECT = frozenset(Effect)


@dataclass(slots=True)
class Scope:
    """The part of a sentence that a trigger governs, from `start` to `end`, and its effect there.

    `is_list`: the effect holds for every entry of the list that follows, with or without an "or" at its end.
    """

    trigger: Span
    effect: Effect
    start: int
    end: int
    is_list: bool = False


@dataclass(slots=True)
class Mention:
    """A finding that the span `index` names, with its status; None if the sentence does not state one.

    `heads` are several where a structure stands for several findings ("lungs are clear"); then `structure` is its span and
    `index` that of the predicate. `scope` is that of the trigger that set the status; None where no trigger did.
    """

    heads: tuple[str, ...]
    status: Status | None
    index: int
    scope: Scope | None = None
    structure: Span | None = None


@dataclass(slots=True)
class ScanState:
    """The state of one pass over the spans of a sentence."""

    sentence: str
    spans: tuple[Span, ...]
    dialect: Dialect
    mentions: list[Mention] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    """Open scopes, in the order of their triggers."""
    every_scope: list[Scope] = field(default_factory=list)
    """All scopes so far, open and closed, forward and backward."""

    structures: list[Span] = field(default_factory=list)
    """Structures that wait for a predicate, or had it if `has_predicate`."""
    has_predicate: bool = False

    # Of the current statement:
    names_finding: bool = False
    """The statement has named a finding."""
    has_verb: bool = False
    """A verb follows a finding."""
    in_list: bool = False
    """A comma continued a list of negated or uncertain findings."""

    def open_scope(self, trigger: Span, effect: Effect, *, is_list: bool = False) -> None:
        """Let `trigger` govern what follows, until its scope is closed."""
        scope = Scope(trigger, effect, trigger.end, len(self.sentence), is_list)
        self.scopes.append(scope)
        self.every_scope.append(scope)

    def close_scopes(self, position: int, effects: frozenset[Effect] = EVERY_EFFECT) -> None:
        """End the open scopes of `effects` at `position`; with all of them, the current statement ends."""
        for scope in self.scopes:
            if scope.effect in effects:
                scope.end = max(scope.start, position)
        self.scopes = [scope for scope in self.scopes if scope.effect not in effects]
        if effects == EVERY_EFFECT:
            self.names_finding = self.has_verb = self.in_list = False

    def governing(self, effect: Effect) -> Scope | None:
        """The last open scope of `effect`."""
        return next((scope for scope in reversed(self.scopes) if scope.effect is effect), None)

    @property
    def scope(self) -> Scope | None:
        """The scope that sets the status of a finding here: negation before no statement before uncertainty."""
        return self.governing(Effect.ABSENT) or self.governing(Effect.UNSTATED) or self.governing(Effect.UNCERTAIN)

    @property
    def status(self) -> Status | None:
        """The status of a finding named here."""
        return self.scope.effect.status if self.scope else "present"

    @property
    def is_negated(self) -> bool:
        """Whether a negation is open."""
        return self.governing(Effect.ABSENT) is not None

    def next_span(self, index: int) -> Span | None:
        """The span after `index`."""
        return self.spans[index + 1] if index + 1 < len(self.spans) else None
