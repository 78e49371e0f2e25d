"""Scores labels read from text against labels given by hand."""

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
    """Numbers of findings that both name, that only the labeler names (`extra`), and that it misses (`missed`)."""

    both: int = 0
    extra: int = 0
    missed: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.both + other.both, self.extra + other.extra, self.missed + other.missed)

    @property
    def precision(self) -> float:
        """Share of the named findings that are right, 0..1; NaN if none is named."""
        named = self.both + self.extra
        return self.both / named if named else float("nan")

    @property
    def recall(self) -> float:
        """Share of the findings given by hand that are named, 0..1; NaN if there are none."""
        given = self.both + self.missed
        return self.both / given if given else float("nan")


def score_phrases(rows: Iterable[Mapping[str, str]]) -> dict[str, Agreement]:
    """Agreement by status over rows of `phrase`, `present`, `uncertain` and `absent` (heads, `;` between them)."""
    total = dict.fromkeys(STATUSES, Agreement())
    for row in rows:
        read = heads_of(row["phrase"])
        for status in STATUSES:
            total[status] += compare(read[status], set(filter(None, row[status].split(";"))))
    return total


def heads_of(phrase: str) -> dict[str, set[str]]:
    """The heads that a phrase names, by status. A present finding is not also uncertain or absent. Headings are read."""
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
    """Whether a phrase of `other_styles.csv` is in the half for the final figure, by its SHA-256."""
    return hashlib.sha256(phrase.encode()).digest()[0] % 2 == 1
