"""Torch checkpoints of the three families, loaded with everything that defines what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from exporters.sources import Family, detect_family, locate_checkpoint
from retrieval.imaging.model_input import Preprocessing
from retrieval.model.bundle import Tokenization

ReferencePixels = Callable[[Sequence[Image.Image]], NDArray[np.float32]]
ReferenceTokens = Callable[[Sequence[str]], dict[str, NDArray[np.int64]]]
ReferenceImageEmbeds = Callable[[NDArray[np.float32]], NDArray[np.float32]]
ReferenceTextEmbeds = Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A dual encoder in float32 and evaluation mode, and how its makers feed it.

    `image_tower` maps `pixel_values` float32 [B, 3, H, W] and `text_tower` maps `input_ids` int64 [B, L] to unit
    vectors float32 [B, dim], projection included.

    Parity is measured against the `reference_…` functions: the processor, the tokenizer and the model's own methods of
    the library that the checkpoint belongs to, none of it ours. The embeddings they give are as the library gives
    them, of any norm.
    """

    family: Family
    source: str
    revision: str | None
    model: nn.Module
    image_tower: nn.Module
    text_tower: nn.Module
    dim: int
    preprocessing: Preprocessing
    tokenization: Tokenization
    tokenizer_json: str
    logit_scale: float
    """Factor on the cosine, already exponentiated."""
    logit_bias: float | None
    reference_pixels: ReferencePixels
    reference_tokens: ReferenceTokens
    reference_image_embeds: ReferenceImageEmbeds
    reference_text_embeds: ReferenceTextEmbeds


def load_checkpoint(source: str | Path, *, family: Family | None = None, revision: str | None = None) -> Checkpoint:
    """Load the checkpoint in the folder, or of the hub id, `source`.

    The family is read off its files; `family` demands one.

    Raises:
        ExportError: config, tokenizer or weights are missing or do not fit together, or the hub does not answer.
    """
    location = locate_checkpoint(source, revision)
    load = _LOADERS[detect_family(location, family)]
    return load(location)


def _load_transformers(location: Any) -> Checkpoint:
    from exporters.transformers_checkpoint import load_transformers

    return load_transformers(location)


def _load_open_clip(location: Any) -> Checkpoint:
    from exporters.open_clip_checkpoint import load_open_clip

    return load_open_clip(location)


_LOADERS = {
    "clip": _load_transformers,
    "siglip": _load_transformers,
    "open_clip": _load_open_clip,
}
