"""Interface through which a training run reports its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from exporters.finetune.run_files import EpochRecord


@dataclass(frozen=True, slots=True)
class StepReport:
    """One training step: step `step` of `steps` in epoch `epoch` of `epochs`, counted from 1."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float


class TrainingProgress(Protocol):
    """Receives the progress of a run."""

    def images(self, set_name: str, done: int, total: int) -> None:
        """`done` of `total` images of the set `set_name` are decoded."""

    def note(self, message: str) -> None:
        """A message for the user."""

    def step(self, report: StepReport) -> None:
        """A step has ended."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended and is validated."""


class NoTrainingProgress:
    """A `TrainingProgress` that shows nothing."""

    def images(self, set_name: str, done: int, total: int) -> None:
        """See `TrainingProgress`."""

    def note(self, message: str) -> None:
        """See `TrainingProgress`."""

    def step(self, report: StepReport) -> None:
        """See `TrainingProgress`."""

    def epoch(self, record: EpochRecord) -> None:
        """See `TrainingProgress`."""
