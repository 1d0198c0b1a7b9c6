"""The running average of a network's weights over the steps of its training."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain

import torch
from torch import nn


class ModelEma:
    """A second network, which holds the exponential moving average of the trained one's weights.

    After n steps each weight is ``sum_k d^(n - k) w_k / sum_k d^(n - k)`` over its values w_1 … w_n after each step:
    the initial weights have no part in it, however short the training. Buffers of real numbers, such as the
    running means and variances of batch norm, are averaged alike, so that they fit the weights; those of whole
    numbers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the trained network's state after one more step into the average."""
        self.steps += 1
        share = (1 - self.decay) / (1 - self.decay**self.steps)
        for mean, value in zip(_state(self.network), _state(network), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)


def _state(network: nn.Module) -> chain[torch.Tensor]:
    return chain(network.parameters(), network.buffers())
