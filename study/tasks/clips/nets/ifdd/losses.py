"""Losses: a network's output and targets to a scalar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from study.config.registry import Range, component
from study.tasks.clips.nets.contract import Loss, Output


@dataclass(frozen=True)
class CrossEntropyContext:
    """``cross-entropy + context_weight * smooth-L1(context residual, 0)``.

    The smooth-L1 loss is averaged over each clip's residual, and reduced over the batch by `reduction`.
    """

    label_smoothing: Annotated[
        float, Range(0, 0.9), "share of each target that is spread over all classes"
    ] = 0.0
    context_weight: Annotated[float, Range(0, 100), "weight of the context loss; 0 switches it off"] = 0.1
    context: Annotated[
        Literal["relaxed", "full"], "constrain the residual's mean over channels and time, or all of it"
    ] = "relaxed"
    reduction: Annotated[
        Literal["mean", "sum"], "of the context loss over the batch; the authors' code sums"
    ] = "mean"

    def __call__(self, output: Output, targets: Tensor) -> Tensor:
        """Return the scalar loss; `targets` are labels (B,) or shares of the classes (B, classes)."""
        loss = F.cross_entropy(output.logits, targets, label_smoothing=self.label_smoothing)
        if output.context_residual is not None and self.context_weight > 0:
            loss = loss + self.context_weight * self.context_loss(output.context_residual)
        return loss

    def context_loss(self, residual: Tensor) -> Tensor:
        """Return the unweighted context loss of a residual (B, C, T/2, H, W)."""
        if self.context == "relaxed":
            residual = residual.mean((1, 2))
        loss = F.smooth_l1_loss(residual, torch.zeros_like(residual))
        return loss * len(residual) if self.reduction == "sum" else loss


@component("loss")
def cross_entropy_context(*, loss: CrossEntropyContext) -> Loss:
    """Cross-entropy, and a context loss that ties the static group to the clip's own average."""
    return loss
