"""What the words of a report say of a study."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.labels.assertions import Assertion, read_assertions
from retrieval.labels.vocabulary import chexpert_names, unique

LONGEST_TEXT = 50_000
"""Characters of findings, and of impression, that are read for labels."""


@dataclass(frozen=True, slots=True)
class TextLabels:
    """Findings of both vocabularies by what a report says of them, no name in two; `qualified` as in `Labels`."""

    present: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    qualified: tuple[str, ...] = ()


def read_report(findings: str, impression: str = "") -> TextLabels:
    """Labels from the text of a report: what one sentence affirms is present, whatever another denies.

    What is doubted somewhere and affirmed nowhere is uncertain. As the CheXpert labeler does, an observation is denied with
    any of its words ("no infiltrate" denies `Lung Opacity`), unless another of them is affirmed or doubted.
    """
    said: dict[str, list[str]] = {"present": [], "uncertain": [], "absent": []}
    qualified: list[str] = []
    for each in (*read_assertions(findings[:LONGEST_TEXT]), *read_assertions(impression[:LONGEST_TEXT])):
        names = _names_of(each)
        said[each.status] += names
        qualified += [f"{name}/{mark}" for name in names for mark in (each.side, each.severity) if mark]
    present = unique(said["present"])
    uncertain = tuple(name for name in unique(said["uncertain"]) if name not in present)
    absent = tuple(name for name in unique(said["absent"]) if name not in (*present, *uncertain))
    return TextLabels(present, uncertain, absent, unique(qualified))


def _names_of(assertion: Assertion) -> list[str]:
    # Text is searched for thickening of the pleura alone; the head is said of other structures, too.
    qualifiers = ("pleura",) if assertion.head == "Thickening" else ()
    return list(unique([assertion.head, *chexpert_names(assertion.head, qualifiers)]))
