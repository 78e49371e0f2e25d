"""Progress of a training run on stderr: steps of each epoch, and one line for each validated epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr.progress import ProgressReporter

if TYPE_CHECKING:  # they import torch, which `cxr finetune --help` does without
    from exporters.finetune.progress import StepReport
    from exporters.finetune.run_files import EpochRecord


class TrainingReporter:
    """A `TrainingProgress` that shows the run through `reporter`."""

    def __init__(self, reporter: ProgressReporter) -> None:
        self._reporter = reporter
        self._title = ""

    def images(self, set_name: str, done: int, total: int) -> None:
        """See `TrainingProgress`."""
        self._begin(f"reading {set_name} images", "images")
        self._reporter(done, total)

    def note(self, message: str) -> None:
        """See `TrainingProgress`."""
        self._reporter.note(message)

    def step(self, report: StepReport) -> None:
        """See `TrainingProgress`."""
        self._begin(f"epoch {report.epoch}/{report.epochs}", "steps")
        detail = f"loss {report.loss:.3f}  lr {report.learning_rate:.2e}  {report.images_per_second:.0f} images/s"
        self._reporter(report.step, report.steps, detail)

    def epoch(self, record: EpochRecord) -> None:
        """See `TrainingProgress`."""
        measured = record.validation
        self._reporter.note(
            f"epoch {record.epoch}: loss {record.loss:.3f}  lr {record.learning_rate:.2e}  "
            f"{record.images_per_second:.0f} images/s  {record.seconds:.0f} s  R@10 image->report "
            f"{measured.image_to_report_r10:.3f} (chance {measured.chance_image_to_report_r10:.3f}), grouped "
            f"{measured.image_to_report_r10_grouped:.3f} / {measured.report_to_image_r10_grouped:.3f}"
            + ("  best" if record.best else "")
        )

    def _begin(self, title: str, unit: str) -> None:
        if title != self._title:
            self._title = title
            self._reporter.stage(title, unit)
