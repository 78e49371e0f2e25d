"""The model of a checkpoint with what training needs: two towers, a tokenizer, temperature and bias as parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from exporters.checkpoints.checkpoint import Checkpoint
from exporters.finetune.locking import lock_towers, set_locked_to_eval
from exporters.text_padding import shortest_tokenization
from retrieval.model.tokenize import TextTokenizer

_IMAGE_TOWERS = ("visual", "vision_model")
"""Prefixes of the names of image weights in open_clip and in transformers."""
_TEXT_GROUP = 32
"""Number of texts of similar length that are embedded together."""
_LARGEST_LOGIT_SCALE = math.log(100)
"""As in CLIP (Radford et al., 2021, section 2.5)."""


class TrainableModel:
    """The model of a checkpoint, to be trained.

    Images are float [B, C, S, S] in 0..1, C = 1 for grey. Both towers give unit vectors [B, D].
    """

    def __init__(self, checkpoint: Checkpoint, tokenizer_file: Path, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.model: nn.Module = checkpoint.model.to(device).requires_grad_(True)
        self.image_tower: nn.Module = checkpoint.image_tower.to(device)
        self.text_tower: nn.Module = checkpoint.text_tower.to(device)
        self.logit_scale = _parameter(self.model, "logit_scale", math.log(10), device)
        self.logit_bias = _parameter(self.model, "logit_bias", 0.0, device)
        mean, std = checkpoint.preprocessing.mean, checkpoint.preprocessing.std
        self._mean = torch.tensor(mean, device=device).reshape(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).reshape(1, 3, 1, 1)
        if device.type == "cpu":
            # oneDNN's convolutions are faster with channels last.
            self.model.to(memory_format=torch.channels_last)
            _keep_depthwise_in_float32(self.model)
            # Without torch's fused attention a step on a CPU is 1.4 to 1.8 times as fast.
            for module in self.model.modules():
                set_attention = getattr(module, "set_attn_implementation", None)
                if callable(set_attention):  # a transformers model, also inside an open_clip one
                    set_attention("eager")
        self.train(False)
        self.tokenize = TextTokenizer(tokenizer_file, shortest_tokenization(checkpoint, tokenizer_file, device=device))

    def train(self, mode: bool = True) -> None:
        """Switch dropout and batch statistics on or off."""
        for module in (self.model, self.image_tower, self.text_tower):
            module.train(mode)
        if mode:
            set_locked_to_eval(self.model)

    def lock(self, *, image_unlocked: int | None, text_unlocked: int | None) -> None:
        """Train only part of the towers; see `lock_towers`."""
        lock_towers(self.model, image_unlocked=image_unlocked, text_unlocked=text_unlocked)

    def initialize_temperature(self, loss: str, batch_size: int) -> None:
        """Set temperature and bias of a new model.

        The scale is 10 as in SigLIP, with a bias of the log-odds that a random pair is a true one, or 1 / 0.07 as in CLIP.
        """
        with torch.no_grad():
            self.logit_scale.fill_(math.log(10) if loss == "sigmoid" else math.log(1 / 0.07))
            self.logit_bias.fill_(-math.log(batch_size - 1) if loss == "sigmoid" else 0.0)

    def clamp_temperature(self) -> None:
        """Limit the temperature as CLIP does, after a step."""
        with torch.no_grad():
            self.logit_scale.clamp_(max=_LARGEST_LOGIT_SCALE)

    def parameter_groups(self, weight_decay: float, text_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for AdamW, each with its `share` of the learning rate: 1, or `text_rate` in the text tower.

        Matrices and kernels get weight decay; gains, biases, positions and the temperature do not.
        """
        temperature = [self.logit_scale, self.logit_bias]
        groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, 0.0): list(temperature)}
        grouped = {id(parameter) for parameter in temperature}
        for name, parameter in self.model.named_parameters():
            if id(parameter) not in grouped and parameter.requires_grad:
                share = 1.0 if name.startswith(_IMAGE_TOWERS) else text_rate
                decay = 0.0 if parameter.ndim < 2 or "position" in name else weight_decay
                groups.setdefault((share, decay), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "share": share}
            for (share, decay), parameters in groups.items()
        ]

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit vectors [B, D] of images in 0..1."""
        pixels = ((images - self._mean) / self._std).contiguous(memory_format=torch.channels_last)
        embeds: Tensor = self.image_tower(pixels)
        return embeds

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [B, D] of texts, padded to the longest if the text tower allows it.

        On a CPU, texts of similar length are embedded together, because padding takes time there.
        """
        any_length = self.tokenize.settings.padding == "longest"
        groups = -(-len(texts) // _TEXT_GROUP) if any_length and self.device.type == "cpu" else 1
        order = (
            sorted(range(len(texts)), key=lambda index: len(texts[index])) if groups > 1 else list(range(len(texts)))
        )
        embeds = [
            self.text_tower(
                torch.from_numpy(self.tokenize([texts[index] for index in part])["input_ids"]).to(self.device)
            )
            for part in np.array_split(order, groups)
        ]
        return torch.cat(embeds)[np.argsort(order)] if groups > 1 else embeds[0]

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """scale * cosine + bias, float32 [B, B]."""
        return self.logit_scale.exp() * (images.float() @ texts.float().T) + self.logit_bias


def embed_pairs(
    model: TrainableModel, images: NDArray[np.uint8], texts: Sequence[str], *, batch_size: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings of all images (uint8 [N, C, S, S]) and texts, float32, in fp32 and without augmentation."""
    model.train(False)
    with torch.inference_mode():
        image_embeds = [
            model.embed_images(as_unit_range(images[start : start + batch_size], model.device)).cpu()
            for start in range(0, len(images), batch_size)
        ]
        text_embeds = [
            model.embed_texts(texts[start : start + batch_size]).cpu() for start in range(0, len(texts), batch_size)
        ]
    return torch.cat(image_embeds).float().numpy(), torch.cat(text_embeds).float().numpy()


def as_unit_range(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 images as float32 in 0..1 on `device`."""
    return torch.from_numpy(images).to(device, torch.float32).div_(255)


def _parameter(model: nn.Module, name: str, value: float, device: torch.device) -> nn.Parameter:
    found = getattr(model, name, None)
    if isinstance(found, nn.Parameter):
        return found
    # CLIP has no bias. The sigmoid loss needs one in training; retrieval by cosine does not.
    return nn.Parameter(torch.tensor(value, device=device))


def _keep_depthwise_in_float32(model: nn.Module) -> None:
    """Exclude depthwise convolutions from autocast on a CPU.

    torch 2.15 has no fast backward pass for them in bf16. An EfficientNet-Lite0 trains on 23 images/s all in bf16, 33 all in
    float32, and 43 with only these in float32 (192 px, 2 cores with AMX).
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]


def _in_float32(forward: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(tensor.float())
