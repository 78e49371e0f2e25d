"""A running average of a model's weights, which generalises better than the weights of one step.

`torch.optim.swa_utils.AveragedModel` does not replace it: it keeps a second whole model beside the trained one, has no
warm-up of the decay, and its state differs from that of runs which earlier versions left to resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential average of a model's floating-point weights and buffers; with decay 0 the weights themselves.

    As in Polyak averaging and EMA teachers (Tarvainen and Valpola, 2017). The decay is lower in the first steps, so that
    the average forgets the random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay, self._steps = model, decay, 0
        self._weights = {name: tensor.clone() for name, tensor in self._current().items()} if decay else {}

    def update(self) -> None:
        """Add the current weights, after a step."""
        if not self._decay:
            return
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, tensor in self._current().items():
            self._weights[name].lerp_(tensor, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the averaged weights within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, object]:
        """The state for `load_state_dict`."""
        return {"steps": self._steps, "weights": self._weights}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore a saved state."""
        steps, weights = state["steps"], state["weights"]
        assert isinstance(steps, int)
        assert isinstance(weights, dict)
        self._steps = steps
        for name, tensor in weights.items():
            self._weights[name].copy_(tensor)

    def _swap(self) -> None:
        current = self._current()
        for name, average in self._weights.items():
            kept = current[name].clone()
            current[name].copy_(average)
            average.copy_(kept)

    def _current(self) -> dict[str, Tensor]:
        # Detached tensors share the model's memory: a copy into them changes the model.
        return {
            name: tensor.detach()
            for name, tensor in self._model.state_dict().items()
            if torch.is_floating_point(tensor)
        }
