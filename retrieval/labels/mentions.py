"""What the words of a query ask for, and what they deny."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.labels.assertions import read_assertions
from retrieval.labels.vocabulary import unique


@dataclass(frozen=True, slots=True)
class Mentions:
    """Findings (Indiana heads, and `Enlarged Cardiomediastinum`, which has none) that a query asks for or denies.

    `uncertain` are those of `asked` that it calls possible.
    """

    asked: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


def find_mentions(text: str) -> Mentions:
    """The findings that the words of a query name; what is asked for anywhere in it is not denied.

    "Rule out pneumonia" asks for it, as an indication does; "pneumonia ruled out" denies it. After a denial a list goes on
    over commas only to an "or", "nor" or "and": "no effusion, cardiomegaly" asks for cardiomegaly.
    """
    said = [(each.head, each.status) for each in read_assertions(text, "query")]
    asked = unique(head for head, status in said if status != "absent")
    sure = {head for head, status in said if status == "present"}
    return Mentions(
        asked=asked,
        uncertain=tuple(head for head in asked if head not in sure),
        denied=unique(head for head, status in said if status == "absent" and head not in asked),
    )
