"""Computes the gradient of a contrastive loss over a batch whose activations do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Embed = Callable[[int], tuple[Tensor, Tensor]]
"""Maps the number of a part of the batch to the embeddings of its images and of its texts."""


def accumulate_step(
    embed: Embed, parts: int, loss_of: Callable[[Tensor, Tensor], Tensor], scale: Callable[[Tensor], Tensor]
) -> Tensor:
    """Add the gradient of `loss_of(all images, all texts)` to the parameters; only one part's activations are in memory.

    Gradient caching (Gao et al., 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup): embed all
    parts without a graph, compute the gradient of the loss for each embedding, then embed each part again and propagate
    it. The sum of the losses of separate parts would leave out most negatives.

    Args:
        embed: Embeds one part.
        parts: Number of parts.
        loss_of: The loss of all image and text embeddings.
        scale: Multiplies the loss, as a gradient scaler does.

    Returns:
        The loss, detached.
    """
    states: list[Tensor] = []
    found: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for part in range(parts):
            states.append(torch.get_rng_state())
            found.append(embed(part))
    images, texts = (torch.cat(each).detach().requires_grad_(True) for each in zip(*found, strict=True))
    loss = loss_of(images, texts)
    scale(loss).backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert texts.grad is not None
    sizes = [len(each[0]) for each in found]
    gradients = zip(torch.split(images.grad, sizes), torch.split(texts.grad, sizes), strict=True)
    after = torch.get_rng_state()
    for part, gradient in enumerate(gradients):
        torch.set_rng_state(states[part])  # the same dropout as before
        _backward(embed(part), gradient)
    torch.set_rng_state(after)
    return loss.detach()


def _backward(embeds: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    learning = [(embed, gradient) for embed, gradient in zip(embeds, gradients, strict=True) if embed.requires_grad]
    torch.autograd.backward(
        [embed for embed, _ in learning], [gradient.to(embed.dtype) for embed, gradient in learning]
    )
