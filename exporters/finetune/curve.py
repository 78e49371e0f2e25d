"""Draws the training curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from exporters.finetune.run_files import EpochRecord


def draw_curve(history: Sequence[EpochRecord], path: Path) -> None:
    """Draw loss and validation recall by epoch into the PNG `path`, with chance and the epoch that was kept."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, recall = figure.subplots(2, 1, sharex=True)
    epochs = [record.epoch for record in history]
    loss.plot(epochs, [record.loss for record in history], color="tab:gray", marker=".")
    loss.set_ylabel("training loss")
    found = [record.validation for record in history]
    recall.plot(epochs, [each.image_to_report_r10 for each in found], marker=".", label="image to report, exact pair")
    recall.plot(
        epochs,
        [each.image_to_report_r10_grouped for each in found],
        marker=".",
        label="image to report, equal reports count",
    )
    recall.plot(
        epochs,
        [each.report_to_image_r10_grouped for each in found],
        marker=".",
        label="report to image, equal reports count",
    )
    recall.axhline(found[-1].chance_image_to_report_r10, color="black", linestyle=":", label="chance, exact pair")
    best = max((record for record in history if record.best), key=lambda record: record.epoch, default=None)
    if best is not None:
        recall.axvline(best.epoch, color="tab:red", linewidth=0.8, label=f"kept: epoch {best.epoch}")
    recall.set(xlabel="epoch", ylabel="validation R@10", ylim=(0, None))
    recall.xaxis.get_major_locator().set_params(integer=True)
    recall.legend(fontsize="small")
    figure.savefig(path, dpi=110)
