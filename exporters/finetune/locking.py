"""Chooses the weights that are trained: all, the last blocks, or only the projections."""

from __future__ import annotations

from typing import Any

from torch import nn

from retrieval.errors import TrainingError


def lock_towers(model: nn.Module, *, image_unlocked: int | None, text_unlocked: int | None) -> None:
    """Freeze each tower except its last blocks and its projection; None leaves a tower unchanged.

    Raises:
        TrainingError: the library of the tower cannot lock it, or no weight is left to train.
    """
    for name, unlocked in (("image", image_unlocked), ("text", text_unlocked)):
        if unlocked is None:
            continue
        lock = _lock_transformers if hasattr(model, f"{_TRANSFORMERS[name]}") else _lock_open_clip
        try:
            lock(model, name, unlocked)
        except (AttributeError, NotImplementedError, AssertionError, TypeError) as error:
            raise TrainingError(
                f"the {name} tower cannot be locked with {unlocked} blocks unlocked: {error}"
            ) from error
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError("both towers are locked and no weight is left to train; unlock some blocks of one tower")


def set_locked_to_eval(model: nn.Module) -> None:
    """Put modules without trained weights into evaluation mode: no dropout, and batch statistics do not change."""
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


_TRANSFORMERS = {"image": "vision_model", "text": "text_model"}


def _lock_transformers(model: Any, name: str, unlocked: int) -> None:
    tower = getattr(model, _TRANSFORMERS[name])
    layers = tower.encoder.layers
    tower.embeddings.requires_grad_(False)
    if hasattr(tower, "pre_layrnorm"):  # CLIP's own spelling
        tower.pre_layrnorm.requires_grad_(False)
    for layer in layers[: max(len(layers) - unlocked, 0)]:
        layer.requires_grad_(False)


def _lock_open_clip(model: Any, name: str, unlocked: int) -> None:
    if name == "image":
        # `set_locked_to_eval` keeps the batch statistics. Another module class would make a checkpoint that does not load.
        model.visual.lock(unlocked_groups=unlocked, freeze_bn_stats=False)
    else:
        model.lock_text_tower(unlocked_layers=unlocked, freeze_layer_norm=True)
