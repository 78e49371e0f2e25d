"""A running average of a model's weights, which generalises better than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential average of a model's floating-point weights and buffers; with decay 0 it is the model itself.

    As in Polyak averaging and EMA teachers (Tarvainen and Valpola, 2017). The first steps count more than `decay` says,
    lest the random start linger.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay, self._steps = model, decay, 0
        self._weights = {name: tensor.clone() for name, tensor in self._live().items()} if decay else {}

    def update(self) -> None:
        """Take in the model as it is after a step."""
        if not self._decay:
            return
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, tensor in self._live().items():
            self._weights[name].lerp_(tensor, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the average for weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, object]:
        """What `load_state_dict` takes."""
        return {"steps": self._steps, "weights": self._weights}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a saved state."""
        steps, weights = state["steps"], state["weights"]
        assert isinstance(steps, int)
        assert isinstance(weights, dict)
        self._steps = steps
        for name, tensor in weights.items():
            self._weights[name].copy_(tensor)

    def _swap(self) -> None:
        live = self._live()
        for name, average in self._weights.items():
            kept = live[name].clone()
            live[name].copy_(average)
            average.copy_(kept)

    def _live(self) -> dict[str, Tensor]:
        # Detached tensors that share the model's memory, so that copying into them changes the model.
        return {
            name: tensor.detach()
            for name, tensor in self._model.state_dict().items()
            if torch.is_floating_point(tensor)
        }
