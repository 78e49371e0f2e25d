"""Kinds of spans in a sentence: findings, structures, triggers and joining words.

The names of the triggers are those of NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema et al., J Biomed
Inform 2009): a pre-negation stands before what it negates, a post-negation after it, a pseudo-negation only looks like one,
and a termination ends the scope of the triggers before it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Dialect = Literal["report", "query"]
"""`report`: a text that describes findings. `query`: a text that asks for findings or excludes them."""


class Kind(StrEnum):
    """The role of a span in its sentence."""

    # Findings, and what makes one of a structure ("the heart is enlarged").
    FINDING = "finding"
    STRUCTURE = "structure"
    PREDICATE = "predicate"
    # Negation.
    PRE_NEGATION = "pre_negation"
    POST_NEGATION = "post_negation"
    PSEUDO_NEGATION = "pseudo_negation"
    BIDIRECTIONAL_NEGATION = "bidirectional_negation"
    LIST_NEGATION = "list_negation"
    NEGATIVE_ANSWER = "negative_answer"
    EXCEPTION = "exception"
    # Uncertainty.
    PRE_UNCERTAINTY = "pre_uncertainty"
    POST_UNCERTAINTY = "post_uncertainty"
    BIDIRECTIONAL_UNCERTAINTY = "bidirectional_uncertainty"
    LIST_UNCERTAINTY = "list_uncertainty"
    SUSPICIOUS = "suspicious"
    VERSUS = "versus"
    QUESTION_MARK = "question_mark"
    WITH_OR_WITHOUT = "with_or_without"
    # Nothing is said about the finding.
    HYPOTHETICAL = "hypothetical"
    NOT_ASSESSABLE = "not_assessable"
    PENDING = "pending"
    # Ends of scopes.
    TERMINATION = "termination"
    RELATIVE_PRONOUN = "relative_pronoun"
    # Joining words and marks.
    COMMA = "comma"
    COLON = "colon"
    AND = "and"
    SLASH = "slash"
    NEW_ITEM = "new_item"
    OR = "or"
    # Words that show where a statement begins.
    VERB = "verb"
    DESCRIPTOR = "descriptor"
    SIZE = "size"


NEGATIONS_AHEAD = frozenset({Kind.PRE_NEGATION, Kind.LIST_NEGATION})
"""Negate what follows them."""

UNCERTAINTIES_AHEAD = frozenset({Kind.PRE_UNCERTAINTY, Kind.SUSPICIOUS, Kind.VERSUS})
"""Make what follows them uncertain."""

TERMINATIONS = frozenset({Kind.TERMINATION, Kind.EXCEPTION})
COMMAS = frozenset({Kind.COMMA, Kind.COLON})
CONJUNCTIONS = frozenset({Kind.AND, Kind.SLASH, Kind.NEW_ITEM})
DESCRIPTORS = frozenset({Kind.DESCRIPTOR, Kind.SIZE})
NAMED = frozenset({Kind.FINDING, Kind.STRUCTURE, Kind.PREDICATE})
