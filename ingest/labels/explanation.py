"""The result of `cxr labels --explain`: sentences, mentions of findings and triggers, as they were read."""

from __future__ import annotations

from typing import Literal

import msgspec

from retrieval.labels.kinds import Dialect
from retrieval.labels.laterality import Side
from retrieval.records import Status


class ExplainedTrigger(msgspec.Struct, frozen=True):
    """A trigger of a sentence: its words, its kind, its place and the part of the sentence that it applies to.

    Places are character offsets in `ExplainedSentence.text`. `kind` is a value of `retrieval.labels.kinds.Kind`. `effect` is
    `absent`, `uncertain`, `unstated` or `pending`; the empty string for a trigger without effect here, such as a
    pseudo-negation or a termination. `ended_by` is the text of the span that ended the scope; the empty string where the
    scope runs to the end of the sentence or goes backward.
    """

    text: str
    kind: str
    start: int
    end: int
    effect: str = ""
    direction: str = ""
    scope_start: int = 0
    scope_end: int = 0
    ended_by: str = ""


class ExplainedMention(msgspec.Struct, frozen=True):
    """A finding that a sentence names, with its status there and why.

    `finding` is the Indiana head, `observations` are its CheXpert names. `status` is None where the sentence does not say
    whether the finding is there; then it gets no label. `rule` is the kind of the trigger that set the status; `structure`
    where a predicate of a structure did ("lungs are clear"); `named` where nothing did, so that the finding is present.
    `result` is the status that the whole text gives the finding: `present`, `uncertain` or `absent` in a report, `asked` or
    `denied` in a query, or the empty string. It differs from `status` where another sentence has precedence.
    """

    finding: str
    observations: tuple[str, ...]
    text: str
    start: int
    end: int
    status: Status | None
    side: Side | Literal[""]
    severity: str
    rule: str
    trigger: ExplainedTrigger | None
    result: str
    reason: str


class ExplainedSentence(msgspec.Struct, frozen=True):
    """A sentence as the labeller reads it: in lower case, with one blank between words and short forms written out."""

    section: str
    text: str
    mentions: tuple[ExplainedMention, ...]
    triggers: tuple[ExplainedTrigger, ...]


class OmittedText(msgspec.Struct, frozen=True):
    """Text from which no labels are read, and the reason."""

    section: str
    text: str
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """The labels of a text, and the reason for each.

    `labels` are the names of findings by status: for a report `present`, `uncertain`, `absent` and `qualified`, for a query
    `asked`, `uncertain`, `denied` and `unread`. They are those of the text alone: the indexing of a study may overrule
    them (`ingest.labels.study.label_study`). `note` says why nothing was read; the empty string where it was.
    """

    dialect: Dialect
    is_english: bool
    sentences: tuple[ExplainedSentence, ...] = ()
    omitted: tuple[OmittedText, ...] = ()
    labels: dict[str, tuple[str, ...]] = {}
    note: str = ""


KNOWN_MISREADINGS: tuple[tuple[str, str], ...] = (
    ("There is a left chest XXXX with tip projecting over the lower", "Words that were removed (XXXX) cannot be read."),
    ("Unchanged loculated right pleural fusion.", "Words with spelling errors are not read in reports."),
    ("Lungs are expanded and clear airspace disease.", 'A missing word ("clear of") changes what is negated.'),
    ("Recent pneumonia, follow-up. Lungs are clear.", "The reason for a follow-up is read as present."),
    ("Worsening diffuse airspace opacities, compatible with ARDS or edema.", '"Compatible with" affirms what follows.'),
    ("Normal: heart, mediastinum, lungs, pleura.", 'A predicate before a colon ("normal:") reaches no list.'),
    (
        "Rather than consolidation this represents atelectasis.",
        '"Rather than" makes the rest of the sentence uncertain.',
    ),
    (
        "No subglottic edema or prevertebral soft tissue XXXX.",
        "Findings of other parts of the body are read, too.",
    ),
)
"""Sentences that the labeller is known to read wrongly, and why. A test holds them; mending one changes labels."""
