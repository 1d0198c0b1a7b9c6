"""Normalisation of the clips that a network takes, for any network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from study.errors import conflict, wrong_value
from study.tasks.clips.nets.video.torchvision_weights import Normalise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colours of ImageNet's training images in [0, 1]."""


def normalise(network: nn.Module, channels: int) -> None:
    """Make a network normalise its clips by ImageNet's colours; the names of its tensors stay.

    Grey clips (1 channel) are normalised by the mean over the colours.

    Raises:
        InputError: Clips of other channels, or published weights in the network that bring their own normalisation.
    """
    if channels not in (1, len(MEAN)):
        raise wrong_value(
            "train.normalise", f"'imagenet' takes clips of 1 or {len(MEAN)} channels.", channels
        )
    if any(isinstance(module, Normalise) for module in network.modules()):
        raise conflict(
            "train.normalise",
            "'imagenet' would normalise clips twice: the network's published weights bring their own "
            "normalisation. Set train.normalise = 'none'.",
        )
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    if channels == 1:
        mean, std = mean.mean(0, keepdim=True), std.mean(0, keepdim=True)
    for name, values in (("imagenet_mean", mean), ("imagenet_std", std)):
        network.register_buffer(name, values.view(-1, 1, 1, 1), persistent=False)
    network.register_forward_pre_hook(_normalise_first)


def _normalise_first(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a forward pass with normalised clips (B, C, T, H, W)."""
    clips, *others = arguments
    mean, std = network.imagenet_mean, network.imagenet_std
    assert isinstance(mean, Tensor)
    assert isinstance(std, Tensor)
    return ((clips - mean) / std, *others)
