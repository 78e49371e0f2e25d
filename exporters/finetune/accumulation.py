"""A contrastive step over a batch that does not fit into memory at once, with the gradient of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Embed = Callable[[int], tuple[Tensor, Tensor]]
"""Embeddings of the images and of the texts of one part of the batch, by its number."""


def accumulate_step(
    embed: Embed, parts: int, loss_of: Callable[[Tensor, Tensor], Tensor], scale: Callable[[Tensor], Tensor]
) -> Tensor:
    """Leave the gradient of `loss_of(all images, all texts)` in the parameters, holding one part's activations at a time.

    Gradient caching (Gao et al., 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup): all parts
    are embedded without a graph, the loss gives the gradient of each embedding, and each part is embedded again to carry it
    on. Adding up the losses of separate parts instead would leave out most negatives.

    Args:
        scale: the loss scaler's; the identity without one.

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
