"""Losses and gradient norms of an epoch's steps, which stay on the device until they are read."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class StepFigures:
    """Losses and gradient norms of the steps of one epoch."""

    def __init__(self) -> None:
        self._unread: list[Tensor] = []
        self._losses: list[float] = []
        self.diverged_at: int | None = None
        """The first of the steps read so far, from 1, whose loss or gradient is not finite."""

    def __len__(self) -> int:
        return len(self._losses) + len(self._unread)

    def add(self, figures: Tensor) -> None:
        """Add the loss and the gradient norm of one more step, (2,), without waiting for the device."""
        self._unread.append(figures)

    def losses(self) -> list[float]:
        """Wait for the device, and return the losses of all steps."""
        if self._unread:
            for loss, norm in torch.stack(self._unread).tolist():
                self._losses.append(loss)
                if self.diverged_at is None and not math.isfinite(loss + norm):
                    self.diverged_at = len(self._losses)
            self._unread.clear()
        return self._losses
