"""Interface through which a training run reports its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from exporters.finetune.store import EpochRecord


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: `epoch` counts from 1, `step` of `steps` within the epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float


class TrainingProgress(Protocol):
    """What watches a run."""

    def images(self, what: str, done: int, total: int) -> None:
        """`done` of `total` images of the set named `what` are decoded."""
        ...

    def note(self, message: str) -> None:
        """Something worth a line."""
        ...

    def step(self, report: StepReport) -> None:
        """A step is done."""
        ...

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done and validated."""
        ...


class Silence:
    """Watches and says nothing."""

    def images(self, what: str, done: int, total: int) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def step(self, report: StepReport) -> None:
        """Nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Nothing."""
