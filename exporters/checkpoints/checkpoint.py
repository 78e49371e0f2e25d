"""A loaded torch checkpoint with everything that defines what it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from exporters.checkpoints.location import Family
from retrieval.imaging.model_input import Preprocessing
from retrieval.model.bundle import BorrowedFiles, Tokenization

ReferencePixels = Callable[[Sequence[Image.Image]], NDArray[np.float32]]
ReferenceTokens = Callable[[Sequence[str]], dict[str, NDArray[np.int64]]]
ReferenceImageEmbeds = Callable[[NDArray[np.float32]], NDArray[np.float32]]
ReferenceTextEmbeds = Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A dual encoder in float32 and evaluation mode, with its preprocessing and tokenization.

    `image_tower` maps `pixel_values` float32 [B, 3, H, W] and `text_tower` maps `input_ids` int64 [B, L] to unit
    vectors float32 [B, dim], projection included.

    The `reference_…` functions are the processor, the tokenizer and the model's own methods of the library that the
    checkpoint belongs to. Parity is measured against them. Their embeddings can have any norm.
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
    borrowed: tuple[BorrowedFiles, ...] = ()
    """Files from other repositories."""


def to_triple(values: Sequence[float]) -> tuple[float, float, float]:
    """The red, green and blue value of a mean or standard deviation."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue
