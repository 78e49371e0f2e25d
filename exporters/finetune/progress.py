"""Progress of a run: what it reports, and its rendering on stderr."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

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


class ConsoleProgress:
    """Bars and one line an epoch on stderr; use as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._task = self._progress.add_task("starting", total=None, detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def images(self, what: str, done: int, total: int) -> None:
        """See `TrainingProgress`."""
        self._progress.update(self._task, description=f"reading {what} images", total=total, completed=done)

    def note(self, message: str) -> None:
        """See `TrainingProgress`."""
        self._console.print(message, highlight=False)

    def step(self, report: StepReport) -> None:
        """See `TrainingProgress`."""
        detail = f"loss {report.loss:.3f}  lr {report.learning_rate:.2e}  {report.images_per_second:.0f} images/s"
        self._progress.update(
            self._task,
            description=f"epoch {report.epoch}/{report.epochs}",
            total=report.steps,
            completed=report.step,
            detail=detail,
        )

    def epoch(self, record: EpochRecord) -> None:
        """See `TrainingProgress`."""
        found = record.validation
        self._console.print(
            f"epoch {record.epoch}: loss {record.loss:.3f}  lr {record.learning_rate:.2e}  "
            f"{record.images_per_second:.0f} images/s  {record.seconds:.0f} s  R@10 image->report "
            f"{found.image_to_report_r10:.3f} (chance {found.chance_image_to_report_r10:.3f}), grouped "
            f"{found.image_to_report_r10_grouped:.3f} / {found.report_to_image_r10_grouped:.3f}"
            + ("  best" if record.best else ""),
            highlight=False,
            soft_wrap=True,
        )
