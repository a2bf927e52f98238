"""The moving average of a network's weights, which predicts more steadily than any single step's weights."""

import copy

import torch
from torch import nn

FIRST_STEPS = 10  # the decay begins at (1 + step) / (10 + step), so that the start is soon forgotten


class WeightAverage:
    """An exponential moving average of weights and batch statistics (Tarvainen and Valpola, NeurIPS 2017).

    `network` is the averaged copy, ready to predict; it shares nothing with the one that is trained. With a decay of 0
    it is the trained one itself, and nothing is computed.
    """

    def __init__(self, trained: nn.Module, decay: float) -> None:
        self.network = trained if decay == 0 else copy.deepcopy(trained).requires_grad_(requires_grad=False)
        self.networks = {"network": trained} if decay == 0 else {"network": trained, "average": self.network}
        self._decay = decay
        averaged, current = self.network.state_dict(), trained.state_dict()
        floating = [name for name, value in averaged.items() if value.is_floating_point()]
        self._averaged = [averaged[name] for name in floating]
        self._current = [current[name] for name in floating]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the trained weights as they are after `step` (from 1); every step is to be told once."""
        if self._decay > 0:
            decay = min(self._decay, (1 + step) / (FIRST_STEPS + step))
            torch._foreach_lerp_(self._averaged, self._current, 1 - decay)
