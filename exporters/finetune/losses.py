"""Contrastive losses over a batch of images and texts. A text that is true of several images is not their negative."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

SharedText = Literal["mask", "positive"]


def sigmoid_loss(logits: Tensor, shared: Tensor, *, shared_text: SharedText) -> Tensor:
    """The pairwise sigmoid loss of SigLIP (Zhai et al., 2023, algorithm 1), per image.

    Args:
        logits: float [B, B], scale * cosine + bias; row i is image i, column j is text j, and i = j is a pair.
        shared: bool [B, B], true where text j is also true of image i; the diagonal is ignored.
        shared_text: `mask` drops shared pairs from the sum; `positive` takes the mean over all
            images that a text is true of.
    """
    pairs = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    shared = shared & ~pairs
    losses = -F.logsigmoid(torch.where(pairs, logits, -logits))
    if shared_text == "mask":
        return losses.masked_fill(shared, 0.0).sum() / len(logits)
    positive = pairs | shared
    # Each text counts once: the many normal studies would outweigh all others.
    weights = positive.to(logits.dtype) / positive.sum(0, keepdim=True)
    losses = torch.where(positive, weights * -F.logsigmoid(logits), losses)
    return losses.sum() / len(logits)


def infonce_loss(logits: Tensor, shared: Tensor, *, shared_text: SharedText) -> Tensor:
    """The symmetric softmax loss of CLIP (Radford et al., 2021), mean over images and texts.

    Arguments as in `sigmoid_loss`. `mask` removes shared pairs from the denominators; `positive` spreads the target evenly
    over the pair and its shared pairs.
    """
    pairs = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    shared = shared & ~pairs
    if shared_text == "mask":
        logits = logits.masked_fill(shared, float("-inf"))
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    weights = (pairs | shared).to(logits.dtype)
    by_image = F.cross_entropy(logits, weights / weights.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits.T, weights.T / weights.T.sum(1, keepdim=True))
    return (by_image + by_text) / 2


LOSSES = {"sigmoid": sigmoid_loss, "infonce": infonce_loss}
