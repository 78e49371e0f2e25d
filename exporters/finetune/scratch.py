"""A new model: random weights and a new tokenizer, written as an ordinary checkpoint folder of its library."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from exporters.finetune.settings import Architecture
from exporters.finetune.tokenizer import END_ID, PAD_ID, START_ID, train_tokenizer
from exporters.quiet import only_errors
from retrieval.errors import TrainingError


def write_scratch_checkpoint(architecture: Architecture, texts: Iterable[str], folder: Path, *, seed: int) -> None:
    """Write an untrained model of `architecture` into `folder`, its tokenizer learnt from `texts`.

    The folder loads like one that was downloaded: by transformers for `siglip`, by open_clip's `local-dir:` for
    `open_clip`.

    Raises:
        TrainingError: the library does not take the configuration.
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
    text = model_cfg["text_cfg"]
    tokenizer = train_tokenizer(
        texts, vocabulary_size=architecture.vocabulary_size, context_length=text["context_length"]
    )
    tokenizer.save_pretrained(folder)
    # Causal attention with pooling at [SEP]: what stands behind it, the padding, cannot change the embedding. open_clip's
    # default pools at the highest id, which is not [SEP] in this vocabulary.
    # The name only says that there is a tokenizer: open_clip reads it from the checkpoint's own folder.
    text |= {
        "vocab_size": len(tokenizer),
        "pad_id": PAD_ID,
        "eos_id": END_ID,
        "pool_type": "eos",
        "hf_tokenizer_name": "checkpoint",
    }
    model_cfg["custom_text"] = True
    config = {"model_cfg": model_cfg, "preprocess_cfg": architecture.preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    with only_errors():  # open_clip warns that the model has no weights yet
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
