"""Labels from the text of a report."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.labels.assertions import read_assertions
from retrieval.labels.vocabulary import chexpert_names, unique

LONGEST_TEXT = 50_000
"""Characters of the findings, and of the impression, that are read."""


@dataclass(frozen=True, slots=True)
class TextLabels:
    """Findings of both vocabularies by their status in a report; no name has two. `qualified` is as in `Labels`."""

    present: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    qualified: tuple[str, ...] = ()


def read_report(findings: str, impression: str = "") -> TextLabels:
    """Labels from the text of a report.

    A finding that one sentence affirms is present, whatever the other sentences say. A finding that is uncertain in one
    sentence and present in none is uncertain. As in the CheXpert labeler, a negated finding also negates its observation
    ("no infiltrate" negates `Lung Opacity`), unless another finding of that observation is present or uncertain.
    """
    names: dict[str, list[str]] = {"present": [], "uncertain": [], "absent": []}
    qualified: list[str] = []
    for each in (*read_assertions(findings[:LONGEST_TEXT]), *read_assertions(impression[:LONGEST_TEXT])):
        added = names_of(each.head)
        names[each.status] += added
        qualified += [f"{name}/{qualifier}" for name in added for qualifier in (each.side, each.severity) if qualifier]
    present = unique(names["present"])
    uncertain = tuple(name for name in unique(names["uncertain"]) if name not in present)
    absent = tuple(name for name in unique(names["absent"]) if name not in (*present, *uncertain))
    return TextLabels(present, uncertain, absent, unique(qualified))


def names_of(head: str) -> list[str]:
    """A head that was read in a text, and its CheXpert observation if it has one."""
    # In texts, thickening is always that of the pleura. In the indexing it may be that of other structures.
    qualifiers = ("pleura",) if head == "Thickening" else ()
    return list(unique([head, *chexpert_names(head, qualifiers)]))
