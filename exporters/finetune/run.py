"""One training run from studies to a checkpoint."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import torch

from exporters.checkpoints import Checkpoint, load_checkpoint
from exporters.finetune.curve import draw_curve
from exporters.finetune.data import load_pairs, report_text
from exporters.finetune.progress import Silence, TrainingProgress
from exporters.finetune.scratch import write_scratch_checkpoint
from exporters.finetune.settings import FinetuneSettings
from exporters.finetune.store import CURVE, HISTORY, RunStore, fingerprint_of
from exporters.finetune.towers import TrainableModel
from exporters.finetune.trainer import Trainer, resolve_device
from exporters.finetune.validation import Validation
from exporters.sources import locate_checkpoint
from retrieval.errors import TrainingError
from retrieval.records import Study


class FinetuneSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to; `skipped` lists images that could not be read, as `file, code, detail`."""

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
    """Of the best epoch, which is the one in the checkpoint."""
    skipped: list[dict[str, str]]


def finetune(
    settings: FinetuneSettings,
    train: Sequence[Study],
    val: Sequence[Study],
    out: Path,
    *,
    progress: TrainingProgress | None = None,
) -> FinetuneSummary:
    """Train on `train`, keep the epoch that is best on `val`, write it into the folder `out` as a checkpoint.

    `out` gets a whole checkpoint or nothing, with `history.json` and `curve.png` beside the weights. A run that was killed
    resumes at its last whole epoch when called again with the same settings, data and `out`.

    Raises:
        TrainingError: nothing to train on, a loss that is no number, or settings that do not fit together.
        DeviceUnavailable: CUDA was asked for and is not there.
    """
    progress = progress or Silence()
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
        if not store.resumable:  # nothing was trained yet, so nothing is worth keeping
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
    """Everything read and loaded, ready for the first step."""
    source = _starting_point(settings, train, store)
    checkpoint = load_checkpoint(source)
    train_pairs, val_pairs = (
        load_pairs(studies, checkpoint.preprocessing, views=views, what=what, on_image=partial(progress.images, what))
        for what, studies, views in (("training", train, settings.views), ("validation", val, _validation_views(val)))
    )
    store.fingerprint = fingerprint_of(settings, train_pairs.image_groups)
    model = _trainable(checkpoint, device)
    model.lock(image_unlocked=settings.image_unlocked, text_unlocked=settings.text_unlocked)
    if settings.architecture is not None:
        model.start_temperature(settings.loss, min(settings.batch_size, len(train_pairs)))
    return Trainer(settings, model, source, train_pairs, val_pairs, store, progress)


def _starting_point(settings: FinetuneSettings, train: Iterable[Study], store: RunStore) -> Path:
    """The checkpoint folder that the run starts from; a new model's is written first."""
    if not store.resumable:
        store.begin()
    if settings.checkpoint is not None:
        return locate_checkpoint(settings.checkpoint).folder
    assert settings.architecture is not None
    if not store.resumable:
        texts = [text for study in train if (text := report_text(study.report))]
        if not texts:
            raise TrainingError("no training pairs: not one study has report text")
        # Terms are typed by users, so the tokenizer should know them as words.
        terms = [study.problems.replace(";", ", ") for study in train if study.problems]
        write_scratch_checkpoint(settings.architecture, [*texts, *terms], store.start, seed=settings.seed)
    return store.start


def _trainable(checkpoint: Checkpoint, device: torch.device) -> TrainableModel:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(checkpoint.tokenizer_json, encoding="utf-8")
        return TrainableModel(checkpoint, file, device)


def _validation_views(studies: Sequence[Study]) -> Literal["frontal", "all"]:
    """Frontal images are what is validated on, where there are any: a lateral view hides much of what a report says."""
    return "frontal" if any(image.view == "frontal" for study in studies for image in study.images) else "all"


def _set_up_cpu(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)
    try:
        libc = ctypes.CDLL("libc.so.6")
        # glibc hands every freed activation back to the kernel and faults it in again a step later: half of the CPU's time
        # for small models. M_MMAP_THRESHOLD (-3) and M_TRIM_THRESHOLD (-1) of malloc.h keep up to a gigabyte at hand.
        libc.mallopt(-3, 2**30)
        libc.mallopt(-1, 2**30)
    except (OSError, AttributeError):  # not glibc: slower at worst
        return


def _require_other_folder(settings: FinetuneSettings, out: Path) -> None:
    if settings.checkpoint is not None and Path(settings.checkpoint).resolve() == out.resolve():
        raise TrainingError(f"{out} is the checkpoint that training starts from; name another folder for the result")
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; training writes a folder")
    # The result takes the folder's place: whatever else is in it would be gone.
    kept = [Path.cwd(), *([Path(settings.checkpoint)] if settings.checkpoint is not None else [])]
    if any(path.resolve().is_relative_to(out.resolve()) for path in kept):
        raise TrainingError(f"{out} holds this folder or the checkpoint; name another folder for the result")
    if out.is_dir() and any(out.iterdir()) and not (out / HISTORY).is_file():
        raise TrainingError(f"{out} holds files that no training wrote; name a new or empty folder for the result")
