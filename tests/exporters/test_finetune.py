"""Training runs from studies to a checkpoint."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from exporters.checkpoints.load import load_checkpoint
from exporters.finetune.data import load_pairs
from exporters.finetune.progress import NoTrainingProgress, StepReport
from exporters.finetune.run import FinetuneSummary, _trainable_model, finetune
from exporters.finetune.run_files import EpochRecord
from exporters.finetune.settings import FinetuneSettings, load_settings, make_settings, shipped_configs
from exporters.finetune.towers import embed_pairs
from exporters.finetune.trainer import learning_rate_factor
from retrieval.errors import DeviceUnavailable, TrainingError
from retrieval.imaging.decoder_pool import read_image
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.records import ImageRecord, Report, Study
from tests.exporters.finetune_studies import draw_studies, tiny_settings

WEIGHTS = {"open_clip": "open_clip_model.safetensors", "siglip": "model.safetensors"}


class Losses(NoTrainingProgress):
    """Records the loss of each step; kills the run after `kill_after` epochs."""

    def __init__(self, kill_after: int | None = None) -> None:
        self.losses: list[float] = []
        self._kill_after = kill_after

    def step(self, report: StepReport) -> None:
        self.losses.append(report.loss)

    def epoch(self, record: EpochRecord) -> None:
        if record.epoch == self._kill_after:
            raise KeyboardInterrupt


def run(
    folder: Path, out: str, settings: FinetuneSettings | None = None, progress: Losses | None = None
) -> FinetuneSummary:
    train, val = draw_studies(folder / "train", 60), draw_studies(folder / "val", 20, seed=1)
    return finetune(settings or tiny_settings(), train, val, folder / out, progress=progress)


@pytest.mark.parametrize("family", ["open_clip", "siglip"])
def test_training_from_scratch_learns_and_writes_a_checkpoint_that_loads(tmp_path: Path, family: str) -> None:
    watched = Losses()
    summary = run(tmp_path, "model", tiny_settings(family, epochs=12), watched)

    assert np.mean(watched.losses[-6:]) < 0.9 * np.mean(watched.losses[:3])
    assert summary.best_epoch >= 1 and summary.train_images == 60 and not summary.skipped
    assert load_checkpoint(tmp_path / "model").family == family
    history = json.loads((tmp_path / "model" / "history.json").read_text())["epochs"]
    assert len(history) == 12 and history[summary.best_epoch - 1]["best"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "train", "val"]


@pytest.mark.parametrize("family", ["open_clip", "siglip"])
def test_the_checkpoint_gives_the_embeddings_of_the_trained_model(tmp_path: Path, family: str) -> None:
    run(tmp_path, "model", tiny_settings(family, epochs=1))
    studies = draw_studies(tmp_path / "val", 20, seed=1)
    checkpoint = load_checkpoint(tmp_path / "model")
    preprocess = ImagePreprocessor(checkpoint.preprocessing)
    texts = ["No nodule.", "There is a nodule in the left lower lobe. " * 9]

    pixels = np.stack([preprocess(read_image(study.images[0].path)[0]) for study in studies])
    with torch.inference_mode():
        images = checkpoint.image_tower(torch.from_numpy(pixels)).numpy()
        ids = torch.from_numpy(checkpoint.reference_tokens(texts)["input_ids"])
        words = checkpoint.text_tower(ids).numpy()

    model = _trainable_model(load_checkpoint(tmp_path / "model"), torch.device("cpu"))
    pairs = load_pairs(studies, checkpoint.preprocessing, views="all", set_name="validation")
    trained_images, trained_words = embed_pairs(model, pairs.images, texts)
    np.testing.assert_allclose(trained_images, images, atol=1e-5)
    np.testing.assert_allclose(trained_words, words, atol=1e-5)


def test_training_continues_from_a_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, "first", tiny_settings(epochs=4))
    watched = Losses()
    again = tiny_settings(architecture=None, checkpoint=str(tmp_path / "first"), learning_rate=1e-4, epochs=1)
    run(tmp_path, "second", again, watched)

    fresh = Losses()
    run(tmp_path, "third", tiny_settings(learning_rate=1e-4, epochs=1), fresh)
    assert watched.losses[0] < fresh.losses[0]


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    run(tmp_path, "one")
    run(tmp_path, "two")
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


@pytest.mark.parametrize("family", ["open_clip", "siglip"])
def test_a_killed_run_resumes_to_the_same_weights_as_an_undisturbed_one(tmp_path: Path, family: str) -> None:
    settings = tiny_settings(family, epochs=4)
    whole = run(tmp_path, "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "killed", settings, Losses(kill_after=2))
    summary = run(tmp_path, "killed", settings)

    assert summary.resumed and not whole.resumed
    assert summary.epochs == 4 and summary.best_epoch == whole.best_epoch
    assert weights(tmp_path / "killed", family) == weights(tmp_path / "whole", family)
    assert not (tmp_path / ".killed.training").exists()


def test_a_killed_run_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "model", progress=Losses(kill_after=1))
    with pytest.raises(TrainingError, match="other settings or other data"):
        run(tmp_path, "model", tiny_settings(learning_rate=5e-4))


def test_training_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    summary = run(tmp_path, "model", tiny_settings(epochs=40, patience=2, learning_rate=1e-9))
    assert summary.epochs < 40
    assert summary.epochs == summary.best_epoch + 2


@pytest.mark.parametrize("loss", ["sigmoid", "infonce"])
@pytest.mark.parametrize("shared_text", ["mask", "positive"])
def test_every_loss_trains(tmp_path: Path, loss: str, shared_text: str) -> None:
    watched = Losses()
    run(tmp_path, "model", tiny_settings(loss=loss, shared_text=shared_text, epochs=2), watched)
    assert all(math.isfinite(value) for value in watched.losses)


def test_a_loss_that_is_not_a_number_is_an_error_and_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss became"):
        run(tmp_path, "model", tiny_settings(learning_rate=1e30, clip_norm=1e30))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train", "val"]


def test_studies_without_report_text_give_no_pairs(tmp_path: Path) -> None:
    mute = [Study(study.study_id, "discs", study.images) for study in draw_studies(tmp_path / "train", 6)]
    with pytest.raises(TrainingError, match="no training pairs"):
        finetune(tiny_settings(), mute, mute, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train"]


def test_equal_reports_only_are_refused(tmp_path: Path) -> None:
    studies = draw_studies(tmp_path / "train", 6)
    same = [Study(study.study_id, "discs", study.images, Report("Clear lungs.")) for study in studies]
    with pytest.raises(TrainingError, match="all training reports say the same"):
        finetune(tiny_settings(), same, studies, tmp_path / "model")


def test_images_that_cannot_be_read_are_skipped_and_listed(tmp_path: Path) -> None:
    train, val = draw_studies(tmp_path / "train", 20), draw_studies(tmp_path / "val", 10)
    (tmp_path / "broken.png").write_bytes(b"no image")
    broken = ImageRecord("broken.png", tmp_path / "broken.png", "frontal")
    train.append(Study("broken", "discs", (broken,), Report("Clear lungs.")))
    summary = finetune(tiny_settings(epochs=1), train, val, tmp_path / "model")
    assert [each["file"] for each in summary.skipped] == ["broken.png"]
    assert summary.train_images == 20


def test_the_starting_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    run(tmp_path, "model", tiny_settings(epochs=1))
    with pytest.raises(TrainingError, match="name another --out folder"):
        run(tmp_path, "model", tiny_settings(architecture=None, checkpoint=str(tmp_path / "model")))


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="not of a training run"):
        run(tmp_path, "model", tiny_settings(epochs=1))
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable):
        run(tmp_path, "model", tiny_settings(device="cuda"))


def test_an_architecture_that_the_library_refuses_is_an_error(tmp_path: Path) -> None:
    architecture = {"family": "open_clip", "model": {"embed_dim": 8, "vision_cfg": {"widht": 8}, "text_cfg": {}}}
    with pytest.raises(TrainingError, match="does not accept this architecture"):
        run(tmp_path, "model", tiny_settings(architecture=architecture))


def test_settings_name_exactly_one_start_and_refuse_unknown_fields() -> None:
    with pytest.raises(TrainingError, match="exactly one"):
        make_settings({})
    with pytest.raises(TrainingError, match="learning_rat"):
        make_settings({"checkpoint": "x", "learning_rat": 1})
    with pytest.raises(TrainingError, match="indiana-clip"):
        load_settings("no-such-config")


def test_every_shipped_configuration_reads() -> None:
    assert "indiana-clip" in shipped_configs()
    for name in shipped_configs():
        assert load_settings(name, seed=5).seed == 5


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    factors = [learning_rate_factor(step / 100, step, 0.1, 100) for step in range(101)]
    assert factors[0] < factors[5] < factors[9] < 1
    assert factors[10] == pytest.approx(1)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0)


def weights(folder: Path, family: str = "open_clip") -> dict[str, list[float]]:
    tensors = load_file(folder / WEIGHTS[family])
    return {name: tensor.flatten().tolist() for name, tensor in tensors.items()}
