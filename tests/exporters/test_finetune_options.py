"""Averaged weights, batches in parts, locked towers, learning rates, and towers with pretrained weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from exporters.checkpoints.load import load_checkpoint
from exporters.finetune import pretrained
from exporters.finetune.accumulation import accumulate_step
from exporters.finetune.losses import infonce_loss
from exporters.finetune.run import _trainable_model, finetune
from exporters.finetune.settings import FinetuneSettings, make_settings
from exporters.finetune.weight_average import WeightAverage
from retrieval.errors import MissingExtra, TrainingError
from tests.exporters.finetune_studies import OPEN_CLIP, draw_studies, tiny_settings

WEIGHTS = {"open_clip": "open_clip_model.safetensors", "siglip": "model.safetensors"}
IMAGE = {"open_clip": "visual.", "siglip": "vision_model."}


def run(folder: Path, out: str, settings: FinetuneSettings) -> Path:
    train, val = draw_studies(folder / "train", 40), draw_studies(folder / "val", 20, seed=1)
    finetune(settings, train, val, folder / out)
    return folder / out


def test_the_average_is_that_of_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = WeightAverage(model, 0.5)
    expected = 1.0
    for step, value in enumerate((3.0, 5.0, 9.0), start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.in_place():
        assert float(model.weight.detach()) == pytest.approx(expected)
    assert float(model.weight.detach()) == 9.0

    other = WeightAverage(model, 0.5)
    other.load_state_dict(average.state_dict())
    with other.in_place():
        assert float(model.weight.detach()) == pytest.approx(expected)


def test_without_decay_the_average_is_the_model() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.0)
    before = model.weight.detach().clone()
    average.update()
    with average.in_place():
        assert torch.equal(model.weight, before)


def test_a_killed_run_with_averaged_weights_resumes_to_the_same_checkpoint(tmp_path: Path) -> None:
    from exporters.finetune.progress import NoTrainingProgress
    from exporters.finetune.run_files import EpochRecord

    class Killing(NoTrainingProgress):
        def epoch(self, record: EpochRecord) -> None:
            if record.epoch == 2:
                raise KeyboardInterrupt

    settings = tiny_settings(epochs=4, average=0.8)
    whole = run(tmp_path, "whole", settings)
    train, val = draw_studies(tmp_path / "train", 40), draw_studies(tmp_path / "val", 20, seed=1)
    with pytest.raises(KeyboardInterrupt):
        finetune(settings, train, val, tmp_path / "killed", progress=Killing())
    finetune(settings, train, val, tmp_path / "killed")
    one, other = (load_file(folder / WEIGHTS["open_clip"]) for folder in (whole, tmp_path / "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    torch.manual_seed(0)
    images, texts = torch.randn(12, 5), torch.randn(12, 7)
    towers = nn.ModuleList([nn.Linear(5, 4), nn.Linear(7, 4)])
    nothing = torch.zeros(12, 12, dtype=torch.bool)

    def embed(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        one, other = towers[0](images[rows]), towers[1](texts[rows])
        return nn.functional.normalize(one, dim=1), nn.functional.normalize(other, dim=1)

    def loss_of(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return infonce_loss(10 * one @ other.T, nothing, shared_text="mask")

    whole = loss_of(*embed(slice(None)))
    whole.backward()
    expected = [parameter.grad.clone() for parameter in towers.parameters() if parameter.grad is not None]
    towers.zero_grad()
    rows = [slice(0, 5), slice(5, 10), slice(10, 12)]
    loss = accumulate_step(lambda part: embed(rows[part]), 3, loss_of, lambda value: value)
    assert float(loss) == pytest.approx(float(whole.detach()))
    found = [parameter.grad for parameter in towers.parameters()]
    assert len(expected) == len(found) == 4
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


def test_parts_have_the_same_dropout_in_both_passes() -> None:
    torch.manual_seed(0)
    drop, seen = nn.Dropout(0.5), []

    def embed(part: int) -> tuple[torch.Tensor, torch.Tensor]:
        values = drop(torch.ones(4, 8, requires_grad=True))
        seen.append((part, values.detach().clone()))
        return values, values

    accumulate_step(embed, 2, lambda one, other: (one * other).sum(), lambda value: value)
    assert [part for part, _ in seen] == [0, 1, 0, 1]
    assert torch.equal(seen[0][1], seen[2][1])
    assert torch.equal(seen[1][1], seen[3][1])
    assert not torch.equal(seen[0][1], seen[1][1])


def test_training_in_parts_learns(tmp_path: Path) -> None:
    assert load_checkpoint(run(tmp_path, "parts", tiny_settings(accumulate=3, epochs=2))).family == "open_clip"


@pytest.mark.parametrize("family", ["open_clip", "siglip"])
def test_a_locked_image_tower_keeps_its_weights_and_the_text_tower_learns(tmp_path: Path, family: str) -> None:
    start = run(tmp_path, "start", tiny_settings(family, epochs=1))
    locked = tiny_settings(family, epochs=2, architecture=None, checkpoint=str(start), image_unlocked=0)
    end = run(tmp_path, "end", locked)
    before, after = (load_file(folder / WEIGHTS[family]) for folder in (start, end))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    image = {name for name in before if name.startswith(IMAGE[family])}
    assert any(not name.startswith(IMAGE[family]) for name in changed)
    # The projection is always trained. Batch statistics do not change where the weights do not.
    assert all("attnpool" in name or "head" in name or "post_layernorm" in name for name in changed & image)
    assert len(changed & image) < len(image) / 2


def test_the_last_blocks_can_be_unlocked(tmp_path: Path) -> None:
    start = run(tmp_path, "start", tiny_settings("siglip", epochs=1))
    partly = tiny_settings(
        "siglip", epochs=1, architecture=None, checkpoint=str(start), image_unlocked=1, text_unlocked=0
    )
    end = run(tmp_path, "end", partly)
    before, after = (load_file(folder / WEIGHTS["siglip"]) for folder in (start, end))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("vision_model.encoder.layers.0." in name for name in changed)
    assert not any("vision_model.embeddings" in name or "text_model.encoder.layers" in name for name in changed)


def test_a_text_rate_of_zero_does_not_change_the_text_tower(tmp_path: Path) -> None:
    start = run(tmp_path, "start", tiny_settings(epochs=1))
    end = run(tmp_path, "end", tiny_settings(epochs=1, architecture=None, checkpoint=str(start), text_rate=0.0))
    before, after = (load_file(folder / WEIGHTS["open_clip"]) for folder in (start, end))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("visual.") for name in changed)
    assert not any(name.startswith("text.") for name in changed)


def test_texts_grouped_by_length_are_returned_in_order(tmp_path: Path, checkpoint_folder) -> None:
    model = _trainable_model(load_checkpoint(checkpoint_folder("open-clip-bert")), torch.device("cpu"))
    assert model.tokenize.settings.padding == "longest"
    words = ["heart", "size", "is", "normal", "and", "the", "lungs", "are", "clear"]
    texts = [" ".join(words[: 1 + number * 7 % len(words)]) for number in range(70)]
    with torch.inference_mode():
        together = model.embed_texts(texts)
        alone = torch.cat([model.embed_texts([text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)


def test_a_run_draws_its_curve(tmp_path: Path) -> None:
    with Image.open(run(tmp_path, "model", tiny_settings(epochs=2)) / "curve.png") as curve:
        assert curve.format == "PNG"
        assert min(curve.size) > 300
        assert len(curve.convert("RGB").getcolors(10**6)) > 50


# Pretrained weights.


def test_pretrained_weights_are_only_for_open_clip() -> None:
    architecture = {"family": "siglip", "model": {}, "text_weights": "all-minilm-l6-v2"}
    with pytest.raises(TrainingError, match="for the family open_clip"):
        make_settings({"architecture": architecture})


def test_without_the_wheel_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"cxr-retrieval\[pretrained\]"):
        run(tmp_path, "model", tiny_settings(architecture=OPEN_CLIP | {"text_weights": "all-minilm-l6-v2"}))
    assert not (tmp_path / "model").exists()


def test_weights_of_another_network_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="efficientnet_lite0"):
        pretrained.load_image_weights(nn.Linear(2, 2))
    with pytest.raises(TrainingError, match="do not fit"):
        pretrained.load_text_weights(nn.Linear(2, 2))


def test_a_model_of_both_wheels_trains_exports_and_still_knows_english(tmp_path: Path) -> None:
    from exporters.export import export_model
    from retrieval.model.bundle import ModelBundle
    from retrieval.model.encoder import Encoder

    architecture = {
        "family": "open_clip",
        "image_weights": "efficientnet-lite0",
        "text_weights": "all-minilm-l6-v2",
        "model": {
            "embed_dim": 384,
            "vision_cfg": {
                "timm_model_name": "efficientnet_lite0",
                "timm_pool": "avg",
                "timm_proj": "linear",
                "image_size": 96,
            },
            "text_cfg": {"hf_proj_type": None, "hf_pooler_type": "mean_pooler", "context_length": 64},
        },
        "preprocessing": {"interpolation": "bicubic", "resize_mode": "squash"},
    }
    settings = tiny_settings(architecture=architecture, epochs=1, learning_rate=1e-9, batch_size=8)
    start = run(tmp_path, "model", settings)
    summary = export_model(name="both", source=start, out_dir=tmp_path / "models")
    encoder = Encoder(ModelBundle.load(summary.folder), device="cpu")
    # Before projection and training this is the sentence encoder.
    one, other, third = encoder.encode_texts(
        ["The heart is enlarged.", "There is cardiomegaly with a big heart.", "The train to Berlin is late."]
    )
    assert one @ other > 0.5 > one @ third + 0.3
