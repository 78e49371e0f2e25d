"""One training run from studies to a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import torch

from exporters.checkpoints import Checkpoint, load_checkpoint
from exporters.finetune.data import load_pairs, report_text
from exporters.finetune.progress import Silence, TrainingProgress
from exporters.finetune.scratch import write_scratch_checkpoint
from exporters.finetune.settings import FinetuneSettings
from exporters.finetune.store import RunStore, fingerprint_of, local_checkpoint
from exporters.finetune.towers import TrainableModel
from exporters.finetune.trainer import Trainer, resolve_device
from exporters.finetune.validation import Validation
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

    `out` gets a whole checkpoint or nothing, and `history.json` beside the weights. A run that was killed resumes at its
    last whole epoch when called again with the same settings, data and `out`.

    Raises:
        TrainingError: nothing to train on, a loss that is no number, or settings that do not fit together.
        DeviceUnavailable: CUDA was asked for and is not there.
    """
    progress = progress or Silence()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = resolve_device(settings.device)
    _require_other_folder(settings, out)
    store = RunStore(out, "")
    resumed = store.resumable
    source = _starting_point(settings, train, store, resumed=resumed)
    checkpoint = load_checkpoint(str(source))

    def count(what: str) -> object:
        return lambda done, total: progress.images(what, done, total)

    pairs = {
        what: load_pairs(
            studies,
            checkpoint.preprocessing,
            views=settings.views if what == "training" else _validation_view(studies),
            what=what,
            on_image=count(what),  # type: ignore[arg-type]
        )
        for what, studies in (("training", train), ("validation", val))
    }
    store.fingerprint = fingerprint_of(settings, pairs["training"].image_groups)
    model = _trainable(checkpoint, device)
    trainer = Trainer(settings, model, source, pairs["training"], pairs["validation"], store, progress)
    if resumed:
        trainer.resume()
        progress.note(f"resuming after epoch {trainer.run.epoch}")
    elif settings.architecture is not None:
        model.start_temperature(settings.loss, min(settings.batch_size, len(pairs["training"])))
    run = trainer.fit()
    store.finish()
    best = next(record for record in run.history if record.epoch == run.best_epoch)
    return FinetuneSummary(
        checkpoint=str(out),
        epochs=run.epoch,
        best_epoch=run.best_epoch,
        seconds=run.seconds,
        resumed=resumed,
        train_images=len(pairs["training"]),
        train_studies=len(set(pairs["training"].study.tolist())),
        parameters=sum(parameter.numel() for parameter in model.model.parameters()),
        loss=run.history[-1].loss,
        validation=best.validation,
        skipped=[
            {"file": each.file, "code": each.code, "detail": each.detail}
            for each in (*pairs["training"].skipped, *pairs["validation"].skipped)
        ],
    )


def _starting_point(settings: FinetuneSettings, train: Iterable[Study], store: RunStore, *, resumed: bool) -> Path:
    """The checkpoint folder that the run starts from; a new model's is written first."""
    if not resumed:
        store.begin()
    if settings.checkpoint is not None:
        return local_checkpoint(settings.checkpoint)
    assert settings.architecture is not None
    if not resumed:
        texts = [text for study in train if (text := report_text(study.report))]
        if not texts:
            store.finish()
            raise TrainingError("no training pairs: not one study has report text")
        # Terms are typed by users, so the tokenizer should know them as words.
        terms = [study.problems.replace(";", ", ") for study in train if study.problems]
        write_scratch_checkpoint(settings.architecture, [*texts, *terms], store.start, seed=settings.seed)
    return store.start


def _trainable(checkpoint: Checkpoint, device: torch.device) -> TrainableModel:
    if checkpoint.tokenization is None or checkpoint.tokenizer_json is None:
        raise TrainingError("the checkpoint has no text tower; image-report training needs both")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(checkpoint.tokenizer_json)
        return TrainableModel(checkpoint, file, device)


def _validation_view(studies: Sequence[Study]) -> str:
    """Frontal images are what is validated on, where there are any: a lateral view hides much of what a report says."""
    return "frontal" if any(image.view == "frontal" for study in studies for image in study.images) else "all"


def _require_other_folder(settings: FinetuneSettings, out: Path) -> None:
    if settings.checkpoint is not None and Path(settings.checkpoint).resolve() == out.resolve():
        raise TrainingError(f"{out} is the checkpoint that training starts from; name another folder for the result")
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; training writes a folder")
