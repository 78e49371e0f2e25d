"""Runs a training from studies to a checkpoint."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import torch

from exporters.checkpoints.checkpoint import Checkpoint
from exporters.checkpoints.load import load_checkpoint
from exporters.checkpoints.location import locate_checkpoint
from exporters.finetune.curve import draw_curve
from exporters.finetune.data import load_pairs, report_text
from exporters.finetune.new_model import write_new_model
from exporters.finetune.progress import NoTrainingProgress, TrainingProgress
from exporters.finetune.run_files import CURVE, HISTORY, RunStore, fingerprint_of
from exporters.finetune.settings import FinetuneSettings
from exporters.finetune.towers import TrainableModel
from exporters.finetune.trainer import Trainer, resolve_device
from exporters.finetune.validation import Validation
from retrieval.errors import TrainingError
from retrieval.records import Study


class FinetuneSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a run; `skipped` lists images that could not be read, as `file, code, detail`."""

    checkpoint: str
    epochs: int
    best_epoch: int
    seconds: float
    resumed: bool
    train_images: int
    train_studies: int
    parameters: int
    loss: float
    validation: Validation
    """Of the best epoch, whose weights are in the checkpoint."""
    skipped: list[dict[str, str]]


def finetune(
    settings: FinetuneSettings,
    train: Sequence[Study],
    val: Sequence[Study],
    out: Path,
    *,
    progress: TrainingProgress | None = None,
) -> FinetuneSummary:
    """Train on `train` and write the epoch that is best on `val` into the folder `out` as a checkpoint.

    `out` gets a whole checkpoint or nothing, with `history.json` and `curve.png` beside the weights. A killed run resumes
    after its last whole epoch when it is called again with the same settings, data and `out`.

    Raises:
        TrainingError: there is nothing to train on, the loss is not a number, or settings do not fit together.
        DeviceUnavailable: CUDA is requested and not available.
    """
    progress = progress or NoTrainingProgress()
    _require_other_folder(settings, out)
    device = resolve_device(settings.device)
    _set_up_cpu(settings.threads)
    store = RunStore(out, "")
    resumed = store.resumable
    try:
        trainer = _prepare(settings, train, val, store, device, progress)
        if resumed:
            trainer.resume()
            progress.note(f"resuming after epoch {trainer.run.epoch}")
        run = trainer.fit()
    finally:
        if not store.resumable:  # no epoch has ended, so there is nothing to resume
            store.finish()
    store.finish()
    draw_curve(run.history, out / CURVE)
    best = next(record for record in run.history if record.epoch == run.best_epoch)
    return FinetuneSummary(
        checkpoint=str(out),
        epochs=run.epoch,
        best_epoch=run.best_epoch,
        seconds=run.seconds,
        resumed=resumed,
        train_images=len(trainer.train_pairs),
        train_studies=len(set(trainer.train_pairs.study.tolist())),
        parameters=sum(parameter.numel() for parameter in trainer.model.model.parameters()),
        loss=run.history[-1].loss,
        validation=best.validation,
        skipped=[
            {"file": each.file, "code": each.code, "detail": each.detail}
            for each in (*trainer.train_pairs.skipped, *trainer.val_pairs.skipped)
        ],
    )


def _prepare(
    settings: FinetuneSettings,
    train: Sequence[Study],
    val: Sequence[Study],
    store: RunStore,
    device: torch.device,
    progress: TrainingProgress,
) -> Trainer:
    """The trainer, with pairs and model loaded."""
    source = _starting_checkpoint(settings, train, store)
    checkpoint = load_checkpoint(source)
    train_pairs, val_pairs = (
        load_pairs(
            studies, checkpoint.preprocessing, views=views, set_name=name, progress=partial(progress.images, name)
        )
        for name, studies, views in (("training", train, settings.views), ("validation", val, _validation_views(val)))
    )
    store.fingerprint = fingerprint_of(settings, train_pairs.image_groups)
    model = _trainable_model(checkpoint, device)
    model.lock(image_unlocked=settings.image_unlocked, text_unlocked=settings.text_unlocked)
    if settings.architecture is not None:
        model.initialize_temperature(settings.loss, min(settings.batch_size, len(train_pairs)))
    return Trainer(settings, model, source, train_pairs, val_pairs, store, progress)


def _starting_checkpoint(settings: FinetuneSettings, train: Iterable[Study], store: RunStore) -> Path:
    """The checkpoint folder that the run starts from. A new model is written there first."""
    if not store.resumable:
        store.begin()
    if settings.checkpoint is not None:
        return locate_checkpoint(settings.checkpoint).folder
    assert settings.architecture is not None
    if not store.resumable:
        texts = [text for study in train if (text := report_text(study.report))]
        if not texts:
            raise TrainingError("no training pairs: no study has report text")
        # Users type terms, so the tokenizer should know them as words.
        terms = [study.problems.replace(";", ", ") for study in train if study.problems]
        write_new_model(settings.architecture, [*texts, *terms], store.start, seed=settings.seed)
    return store.start


def _trainable_model(checkpoint: Checkpoint, device: torch.device) -> TrainableModel:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(checkpoint.tokenizer_json, encoding="utf-8")
        return TrainableModel(checkpoint, file, device)


def _validation_views(studies: Sequence[Study]) -> Literal["frontal", "all"]:
    """`frontal` if there are frontal images: a lateral view does not show all that a report mentions."""
    return "frontal" if any(image.view == "frontal" for study in studies for image in study.images) else "all"


def _set_up_cpu(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)
    try:
        libc = ctypes.CDLL("libc.so.6")
        # glibc returns freed activations to the kernel and needs them again a step later, which takes half of the CPU
        # time of small models. M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1) of malloc.h let it keep up to 1 GB.
        libc.mallopt(-3, 2**30)
        libc.mallopt(-1, 2**30)
    except (OSError, AttributeError):  # not glibc
        return


def _require_other_folder(settings: FinetuneSettings, out: Path) -> None:
    if settings.checkpoint is not None and Path(settings.checkpoint).resolve() == out.resolve():
        raise TrainingError(f"{out} is the checkpoint that training starts from; name another --out folder")
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; --out must be a folder")
    # The result replaces the folder with all its files.
    kept = [Path.cwd(), *([Path(settings.checkpoint)] if settings.checkpoint is not None else [])]
    if any(path.resolve().is_relative_to(out.resolve()) for path in kept):
        raise TrainingError(f"{out} contains the current folder or the checkpoint; name another --out folder")
    if out.is_dir() and any(out.iterdir()) and not (out / HISTORY).is_file():
        raise TrainingError(f"{out} contains files that are not of a training run; name a new or empty --out folder")
