"""Losses that no training can be repeated with, each for a reason of its own; and a network that breaks."""

from __future__ import annotations

import os

import torch
from torch.nn import functional as F

from study.config.registry import component
from study.tasks.clips.nets.contract import Output


@component("loss")
def honest():
    """Cross-entropy."""
    return lambda output, targets: F.cross_entropy(output.logits, targets)


class Forgetful:
    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, output, targets):
        self.steps += 1
        return F.cross_entropy(output.logits, targets, label_smoothing=min(0.9, 0.3 * self.steps))


@component("loss")
def forgetful():
    """Cross-entropy that keeps what it remembers where no checkpoint finds it."""
    return Forgetful()


def noise() -> float:
    return int.from_bytes(os.urandom(4)) / 2**32 + 0.5


@component("loss")
def random_loss():
    """Cross-entropy with labels that no seed decides."""

    def loss(output: Output, targets):
        drawn = torch.frombuffer(bytearray(os.urandom(len(targets))), dtype=torch.uint8).long()
        return F.cross_entropy(output.logits, drawn % output.logits.shape[1])

    return loss


@component("loss")
def rounding():
    """Cross-entropy whose last digits no seed decides, and an operator without a deterministic form."""

    def loss(output: Output, targets):
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))
        return F.cross_entropy(output.logits, targets) + (output.logits.sum() * 1e-6 * noise())

    return loss


@component("loss")
def broken():
    """No loss at all."""

    def loss(output, targets):
        raise ValueError("no loss can be had here")

    return loss


class Breaking(Forgetful):
    def __call__(self, output, targets):
        if self.steps:
            raise ValueError("no second loss can be had here")
        return super().__call__(output, targets)


@component("loss")
def breaking():
    """A loss for one step, which is what is tried before a study."""
    return Breaking()
