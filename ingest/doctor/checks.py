"""The results of the doctor's checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "problem"]
_LISTED = 3


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. A `problem` must be repaired; a `note` is only information."""

    check: str
    level: Level
    message: str


@dataclass(slots=True)
class Diagnosis:
    """The check results of one collection, and its counts of images."""

    model: str
    collection: str
    results: list[CheckResult] = field(default_factory=list)
    images: int = 0
    studies: int = 0
    by_view: dict[str, int] = field(default_factory=dict)
    by_dataset: dict[str, int] = field(default_factory=dict)
    by_label: dict[str, int] = field(default_factory=dict)
    unlabelled_share: float = 0.0

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; notes do not count."""
        return all(result.level != "problem" for result in self.results)

    def add(self, check: str, failed: bool, message: str, *, level: Level = "problem") -> None:
        """Add a result: `level` if the check has failed, else ok."""
        self.results.append(CheckResult(check, level if failed else "ok", message))

    def to_dict(self) -> dict[str, Any]:
        """The document that `cxr doctor --json` prints; the results are its `findings`."""
        document = asdict(self)
        findings = document.pop("results")
        return {"model": document.pop("model"), "collection": document.pop("collection"), "findings": findings} | (
            document | {"healthy": self.is_healthy}
        )


def list_first(names: Iterable[str]) -> str:
    """The end of a message that lists the first few names; empty without names."""
    first = sorted(names)[:_LISTED]
    return f"; the first: {', '.join(first)}" if first else ""
