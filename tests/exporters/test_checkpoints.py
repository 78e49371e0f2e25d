"""Checkpoints are loaded as their files describe them; unsuitable ones are refused with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.checkpoints.load import load_checkpoint
from retrieval.errors import ExportError
from retrieval.model.tokenize import TextTokenizer
from tests.exporters.conftest import WRITERS

SENTENCES = (
    "Heart size is normal. The lungs are clear.",
    "No pneumothorax, pleural effusion, or focal air-space disease!",
    "",
    "   ",
    "XXXX-year-old MALE; s/p CABG (2009). Don't see 'prior' films_?",
    "Mild\tpulmonary\n\nvascular   congestion .",
    "5&gt;3 mm nodule — “stable” ½ µm, naïve ﬁbrosis, 37 °C, 肺炎 🫁 \u200b\ufeff İstanbul ΣΑΣ",
    "</s> [SEP] <|endoftext|> <end_of_text> <unk>",
    "Degenerative changes of the spine. " * 40,
)


def a_copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("kind", WRITERS)
def test_token_ids_equal_the_reference_tokenizer(kind, checkpoint_folder, tmp_path):
    checkpoint = load_checkpoint(checkpoint_folder(kind))
    path = tmp_path / "tokenizer.json"
    path.write_text(checkpoint.tokenizer_json)
    ours = TextTokenizer(path, checkpoint.tokenization)
    for sentence in SENTENCES:
        expected = checkpoint.reference_tokens([sentence])["input_ids"]
        np.testing.assert_array_equal(ours([sentence])["input_ids"], expected, err_msg=sentence)
    np.testing.assert_array_equal(ours(SENTENCES)["input_ids"], checkpoint.reference_tokens(SENTENCES)["input_ids"])


@pytest.mark.parametrize("kind", WRITERS)
def test_towers_give_the_normalized_features_of_the_model(kind, checkpoint_folder):
    checkpoint = load_checkpoint(checkpoint_folder(kind))
    size = checkpoint.preprocessing.size
    pixels = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    tokens = checkpoint.reference_tokens(SENTENCES)
    with torch.inference_mode():
        images = checkpoint.image_tower(torch.from_numpy(pixels)).numpy()
        texts = checkpoint.text_tower(torch.from_numpy(tokens["input_ids"])).numpy()
    for ours, theirs in (
        (images, checkpoint.reference_image_embeds(pixels)),
        (texts, checkpoint.reference_text_embeds(tokens)),
    ):
        expected = theirs / np.linalg.norm(theirs, axis=1, keepdims=True)
        np.testing.assert_allclose(ours, expected, atol=2e-6)
        assert ours.shape[1] == checkpoint.dim


def test_siglip_text_is_padded_to_its_full_length_with_the_tokenizers_pad_id(checkpoint_folder):
    checkpoint = load_checkpoint(checkpoint_folder("siglip-sentencepiece"))
    ids = checkpoint.reference_tokens(["heart"])["input_ids"][0]
    assert checkpoint.tokenization.context_length == len(ids) == 16
    assert checkpoint.tokenization.pad_id == 1
    assert checkpoint.tokenization.normalization == "siglip"
    assert ids[-1] == 1


def test_text_for_our_own_wordpiece_tokenizer_is_not_canonicalized(checkpoint_folder):
    tokenization = load_checkpoint(checkpoint_folder("siglip-wordpiece")).tokenization
    assert (tokenization.normalization, tokenization.pad_id) == ("none", 0)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("clip", "siglip"), ("siglip-wordpiece", "clip"), ("clip", "open_clip"), ("open-clip", "clip")],
)
def test_another_family_than_the_requested_one_is_refused(kind, wanted, checkpoint_folder):
    with pytest.raises(ExportError, match="config"):
        load_checkpoint(checkpoint_folder(kind), family=wanted)


def test_an_unknown_architecture_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(ExportError, match="found 'blip'"):
        load_checkpoint(tmp_path)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"no config\.json"):
        load_checkpoint(tmp_path)


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ExportError, match="neither a folder nor a hub id"):
        load_checkpoint(tmp_path / "nothing")


def test_an_unreachable_hub_says_to_pass_a_folder(tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="--checkpoint DIR"):
        load_checkpoint("nobody/no-such-model")


@pytest.mark.parametrize("kind", ["clip", "siglip-unigram", "siglip-sentencepiece", "open-clip-bert"])
def test_a_missing_tokenizer_is_refused(kind, checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder(kind), tmp_path)
    for name in ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ExportError, match="has no tokenizer"):
        load_checkpoint(folder)


@pytest.mark.parametrize("kind", ["clip", "open-clip"])
def test_missing_weights_are_refused_and_never_random(kind, checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder(kind), tmp_path)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ExportError, match="has no weights"):
        load_checkpoint(folder)


def test_weights_of_another_shape_are_refused(checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("siglip-wordpiece"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="do not match its config"):
        load_checkpoint(folder)


def test_damaged_weights_are_refused(checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("open-clip"), tmp_path)
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ExportError, match="cannot be loaded as an open_clip model"):
        load_checkpoint(folder)


def test_a_missing_image_processor_is_refused(checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("clip"), tmp_path)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ExportError, match=r"no preprocessor_config\.json"):
        load_checkpoint(folder)


def test_an_image_processor_of_another_size_is_refused(checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("siglip-wordpiece"), tmp_path)
    _edit(folder / "preprocessor_config.json", size={"height": 64, "width": 64})
    with pytest.raises(ExportError, match="gives 64 pixels, the model takes 48"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"shortest_edge": 56}},
        {"size": {"height": 48, "width": 64}},
        {"size": {"longest_edge": 48, "shortest_edge": 24}},
        {"do_center_crop": False},
    ],
)
def test_an_unknown_resize_mode_of_transformers_is_refused(change, checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("clip"), tmp_path)
    _edit(folder / "preprocessor_config.json", **change)
    with pytest.raises(ExportError, match="unknown resize mode"):
        load_checkpoint(folder)


def test_an_unknown_resampling_filter_is_refused_and_the_known_ones_are_listed(checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("clip"), tmp_path)
    _edit(folder / "preprocessor_config.json", resample=99)
    with pytest.raises(ExportError, match=r"filter 99; known are .*3 \(bicubic\); correct `resample`"):
        load_checkpoint(folder)


def test_an_unknown_resize_mode_of_open_clip_is_refused(checkpoint_folder, tmp_path):
    folder = a_copy(checkpoint_folder("open-clip"), tmp_path)
    _edit(folder / "open_clip_config.json", preprocess_cfg={"resize_mode": "seamcarving"})
    with pytest.raises(ExportError, match="unknown resize mode 'seamcarving'"):
        load_checkpoint(folder)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
