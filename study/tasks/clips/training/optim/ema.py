"""Exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn

from study.tasks.clips.training.tensors import load_buffers


class ModelEma:
    """Copy of a network that holds the exponential moving average of its weights.

    After n steps each weight is ``sum_k d^(n - k) w_k / sum_k d^(n - k)`` over its values w_1 … w_n after each step,
    so the initial weights do not contribute, however short the training. Floating-point buffers, such as the running
    statistics of batch norm, are averaged in the same way, complex ones too; integer buffers are copied.

    Args:
        network: Another network of the same configuration, built anew, which becomes the average: a network cannot
            be copied where it holds what its forward pass computed.
        decay: The share of the average that stays at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.steps = 0

    def update(self, network: nn.Module) -> None:
        """Update the average with the trained network's state after one more step."""
        self.blend(network, self.advance())

    def advance(self) -> float:
        """Count one more step and return the share of the network's state in the average after it."""
        self.steps += 1
        return (1 - self.decay) / (1 - self.decay**self.steps)

    @torch.no_grad()
    def blend(self, network: nn.Module, share: float | Tensor) -> None:
        """Move the average towards the network's state by `share`, a number or a tensor without dimensions."""
        averages = dict(_tensors(self.network))
        for name, value in _tensors(network):
            mean = averages.get(name)
            if mean is None or mean.shape != value.shape:  # a buffer that training registered or replaced
                load_buffers(self.network, {name: value})
            elif mean.is_floating_point() or mean.is_complex():
                mean.lerp_(value, share.to(mean.dtype) if isinstance(share, Tensor) else share)
            else:
                mean.copy_(value)


def _tensors(network: nn.Module) -> chain[tuple[str, Tensor]]:
    return chain(network.named_parameters(), network.named_buffers())
