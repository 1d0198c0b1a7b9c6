"""Losses that make a training irreproducible, each for another reason, and losses that fail."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.nn import functional as F

from study.config.registry import component
from study.tasks.clips.nets.contract import Output


@component("loss")
def honest() -> Any:
    """Cross-entropy."""
    return lambda output, targets: F.cross_entropy(output.logits, targets)


class Forgetful:
    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, output: Any, targets: Any) -> Any:
        self.steps += 1
        return F.cross_entropy(output.logits, targets, label_smoothing=min(0.9, 0.3 * self.steps))


@component("loss")
def forgetful() -> Any:
    """Cross-entropy whose state is in no checkpoint."""
    return Forgetful()


def noise() -> float:
    return int.from_bytes(os.urandom(4)) / 2**32 + 0.5


@component("loss")
def random_loss() -> Any:
    """Cross-entropy with labels that depend on no seed."""

    def loss(output: Output, targets: Any) -> Any:
        labels = torch.frombuffer(bytearray(os.urandom(len(targets))), dtype=torch.uint8).long()
        return F.cross_entropy(output.logits, labels % output.logits.shape[1])

    return loss


@component("loss")
def rounding() -> Any:
    """Cross-entropy whose last digits depend on no seed, and an operator without a deterministic form."""

    def loss(output: Output, targets: Any) -> Any:
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))
        return F.cross_entropy(output.logits, targets) + (output.logits.sum() * 1e-6 * noise())

    return loss


@component("loss")
def broken() -> Any:
    """A loss that fails."""

    def loss(output: Any, targets: Any) -> None:
        raise ValueError("no loss can be had here")

    return loss


class Breaking(Forgetful):
    def __call__(self, output: Any, targets: Any) -> Any:
        if self.steps:
            raise ValueError("no second loss can be had here")
        return super().__call__(output, targets)


@component("loss")
def breaking() -> Any:
    """A loss that fails in its second step, after the trial step of a study."""
    return Breaking()
