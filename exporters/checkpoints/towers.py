"""The two towers of a dual encoder as torch modules: one input, one output of unit norm, projection inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class TransformersImageTower(nn.Module):
    """Image tower of a transformers `CLIPModel` or `SiglipModel`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        # CLIP projects; the attention-pool head of SigLIP ends in the joint space.
        self.projection = getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixel_values: Tensor) -> Tensor:
        """`pixel_values` float32 [B, 3, H, W] -> unit vectors [B, D]."""
        pooled = self.vision_model(pixel_values=pixel_values).pooler_output
        return functional.normalize(self.projection(pooled), dim=-1)


class TransformersTextTower(nn.Module):
    """Text tower of a transformers `CLIPModel` or `SiglipModel`.

    It needs no attention mask. SigLIP was trained on padded text without one. In CLIP the causal mask hides all that
    follows the end-of-text token, and the state of that token is the embedding.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text_model = model.text_model
        self.projection = getattr(model, "text_projection", nn.Identity())

    def forward(self, input_ids: Tensor) -> Tensor:
        """`input_ids` int64 [B, L] -> unit vectors [B, D]."""
        pooled = self.text_model(input_ids=input_ids).pooler_output
        return functional.normalize(self.projection(pooled), dim=-1)


class OpenClipImageTower(nn.Module):
    """Image tower of an open_clip model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual = model.visual

    def forward(self, pixel_values: Tensor) -> Tensor:
        """`pixel_values` float32 [B, 3, H, W] -> unit vectors [B, D]."""
        return functional.normalize(self.visual(pixel_values), dim=-1)


class OpenClipTextTower(nn.Module):
    """Text tower of an open_clip model: a separate module in `CustomTextCLIP`, part of the model itself in `CLIP`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.custom = hasattr(model, "text")
        self.text = model.text if self.custom else model

    def forward(self, input_ids: Tensor) -> Tensor:
        """`input_ids` int64 [B, L] -> unit vectors [B, D]. A Hugging Face tower masks the padding itself."""
        with _causal_mask_of_length(self.text, input_ids.shape[1]):
            features = self.text(input_ids) if self.custom else self.text.encode_text(input_ids)
        return functional.normalize(features, dim=-1)


@contextmanager
def _causal_mask_of_length(text: Any, length: int) -> Iterator[None]:
    """Cut the causal mask to `length` within the block; open_clip's `TextTransformer` always adds all of it."""
    mask = getattr(text, "attn_mask", None)
    if mask is None:
        yield
        return
    text.attn_mask = mask[:length, :length]
    try:
        yield
    finally:
        text.attn_mask = mask


def scalar(model: nn.Module, name: str) -> float | None:
    """The value of a parameter or buffer of one number, such as `logit_scale`; None if the model has none."""
    value = getattr(model, name, None)
    return float(value.detach().reshape(-1)[0]) if isinstance(value, torch.Tensor) else None
