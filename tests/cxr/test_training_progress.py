"""A training run prints lines where there is no terminal: steps with loss and rate, and one line for each epoch."""

from __future__ import annotations

import re
import time

import pytest

from cxr.progress import progress_bar
from cxr.training_progress import TrainingReporter
from exporters.finetune.progress import StepReport, TrainingProgress
from exporters.finetune.run_files import EpochRecord
from exporters.finetune.validation import Validation


def step(number: int) -> StepReport:
    return StepReport(epoch=1, epochs=3, step=number, steps=400, loss=0.5, learning_rate=1e-4, images_per_second=85.0)


def test_an_epoch_is_not_silent(capsys: pytest.CaptureFixture[str]) -> None:
    found = Validation(
        images=20,
        reports=10,
        image_to_report_r10=0.25,
        report_to_image_r10=0.2,
        image_to_report_r10_grouped=0.35,
        report_to_image_r10_grouped=0.3,
        chance_image_to_report_r10=0.05,
        chance_image_to_report_r10_grouped=0.06,
    )
    record = EpochRecord(
        epoch=1,
        steps=400,
        loss=0.5,
        learning_rate=1e-4,
        images_per_second=85.0,
        seconds=840.0,
        best=True,
        validation=found,
    )
    with progress_bar(interval_s=0.1) as reporter:
        progress: TrainingProgress = TrainingReporter(reporter)
        progress.images("train", 20, 20)
        for number in range(1, 5):
            progress.step(step(100 * number))
            time.sleep(0.15)
        progress.epoch(record)
        progress.note("resuming after epoch 1")
    lines = [line[20:] for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == "reading train images …"
    assert lines[1].startswith("reading train images: 20/20 images, done after")
    assert lines[2] == "epoch 1/3 …"
    detail = r"loss 0\.500  lr 1\.00e-04  85 images/s"
    assert any(re.fullmatch(rf"epoch 1/3: \d00/400 steps, {detail}, [\d,.]+ steps/s.*", line) for line in lines[3:])
    assert any(
        line.startswith("epoch 1: loss 0.500") and line.endswith("grouped 0.350 / 0.300  best") for line in lines
    )
    assert "resuming after epoch 1" in lines
    assert lines[-1].startswith("epoch 1/3: 400/400 steps, done after")
