"""The learning rate of each step: a linear warm-up, then half a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Learning rates over a training of `total_steps` steps."""

    peak: float
    total_steps: int
    warmup_steps: int

    def rate(self, step: int) -> float:
        """Return the learning rate of `step`, counted from 0.

        With w warm-up steps out of n, ``peak * (step + 1) / w`` up to ``peak`` at step w - 1, then
        ``peak * (1 + cos(pi * (step - w) / (n - w))) / 2``: from ``peak`` at step w to just above 0 at
        step n - 1 (SGDR, Loshchilov and Hutter 2017, without restarts). A warm-up that outlasts the
        training never reaches the peak.
        """
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        through = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return self.peak * (1 + math.cos(math.pi * through)) / 2
