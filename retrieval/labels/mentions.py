"""What the words of a query ask for, and what they deny."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.labels.assertions import Assertion, read_assertions
from retrieval.labels.vocabulary import unique


@dataclass(frozen=True, slots=True)
class Mentions:
    """Findings (Indiana heads, and `Enlarged Cardiomediastinum`, which has none) that a query asks for or denies.

    `uncertain` are those of `asked` that it calls possible. `denied` are named as filters name them: with the side, or else
    the severity, if only that is denied (`Pleural Effusion/left`).
    """

    asked: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


def find_mentions(text: str) -> Mentions:
    """The findings that the words of a query name; what is asked for anywhere in it is not denied, but another side may be.

    "Rule out pneumonia" asks for it, as an indication does; "pneumonia ruled out" denies it. After a denial a list goes on
    over commas only to an "or", "nor" or "and": "no effusion, cardiomegaly" asks for cardiomegaly. "No left effusion" denies
    bilateral ones, too, and no others.
    """
    said = tuple(read_assertions(text, "query"))
    asked = unique(each.head for each in said if each.status != "absent")
    sure = {each.head for each in said if each.status == "present"}
    kept = {*asked, *(f"{each.head}/{mark}" for each in said if each.status == "present" for mark in _marks(each))}
    return Mentions(
        asked=asked,
        uncertain=tuple(head for head in asked if head not in sure),
        denied=unique(name for each in said if each.status == "absent" for name in _denied(each, kept)),
    )


def _marks(said: Assertion) -> list[str]:
    return [mark for mark in (said.side, said.severity) if mark]


def _denied(said: Assertion, kept: set[str]) -> list[str]:
    """A denied finding as filters name it, with the first of its marks that is not asked for; none if all is asked for."""
    marks = _marks(said)
    names = [name for name in ([f"{said.head}/{mark}" for mark in marks] or [said.head]) if name not in kept][:1]
    if names and names[0].endswith(("/left", "/right")):  # what is bilateral is on both
        names += {f"{said.head}/bilateral"} - kept
    return names
