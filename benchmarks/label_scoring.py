"""How well the labels read from text agree with those given by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from archives.report_sections import split_report
from retrieval.labels.assertions import read_assertions
from retrieval.records import Report

STATUSES = ("present", "uncertain", "absent")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Findings that both name, that only the labeler names, and that only the hand does."""

    both: int = 0
    extra: int = 0
    missed: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.both + other.both, self.extra + other.extra, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of what the labeler names that is right, 0..1; NaN if it names nothing."""
        named = self.both + self.extra
        return self.both / named if named else float("nan")

    @property
    def recall(self) -> float:
        """Share of what is there that the labeler names, 0..1; NaN if nothing is there."""
        there = self.both + self.missed
        return self.both / there if there else float("nan")


def score_phrases(rows: Iterable[Mapping[str, str]]) -> dict[str, Agreement]:
    """Agreement by status over rows of `phrase`, `present`, `uncertain` and `absent` (heads, `;` between them)."""
    total = dict.fromkeys(STATUSES, Agreement())
    for row in rows:
        read = heads_of(row["phrase"])
        for status in STATUSES:
            total[status] += compare(read[status], set(filter(None, row[status].split(";"))))
    return total


def heads_of(phrase: str) -> dict[str, set[str]]:
    """The heads that a phrase names, by status; what it affirms is neither doubted nor denied. Headings are obeyed."""
    report = split_report(Report(findings=phrase))
    found: dict[str, set[str]] = {status: set() for status in STATUSES}
    for each in (*read_assertions(report.findings), *read_assertions(report.impression)):
        found[each.status].add(each.head)
    found["uncertain"] -= found["present"]
    found["absent"] -= found["present"] | found["uncertain"]
    return found


def compare(read: set[str], given: set[str]) -> Agreement:
    """Agreement of two sets of heads."""
    return Agreement(len(read & given), len(read - given), len(given - read))


def is_final(phrase: str) -> bool:
    """Whether a phrase of `other_styles.csv` belongs to the half that is kept for the final figure: by its SHA-256."""
    return hashlib.sha256(phrase.encode()).digest()[0] % 2 == 1
