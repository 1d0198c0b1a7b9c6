"""The record of what a network costs."""

from __future__ import annotations

from dataclasses import dataclass

from study.records.serialization import SCHEMA

LARGEST_DISAGREEMENT = 0.05
"""Between two counters of operations, beyond which one of them must be wrong."""


@dataclass(frozen=True)
class PartCost:
    """What one part of a network costs, for one example."""

    name: str
    parameters: int
    """Trainable values."""
    macs: int


@dataclass(frozen=True)
class Profile:
    """What a network costs, for one example."""

    parameters: int
    """Trainable values."""
    macs: int
    """Multiply-accumulates of one forward pass, by fvcore."""
    uncounted: tuple[str, ...]
    """Operators that the counter knows nothing about."""
    input_shape: tuple[int, ...]
    """Batch, channels, frames, height, width."""
    unused: int | None = None
    """Trainable values that get no gradient in a training step; None, here and below, where not counted."""
    unused_tensors: tuple[str, ...] = ()
    """The names of their tensors."""
    flops: int | None = None
    """Floating-point operations of one forward pass, by torch's counter: two for each multiply-accumulate."""
    activation_bytes: int | None = None
    """What one example of a training batch has kept for the backward pass."""
    parts: tuple[PartCost, ...] = ()
    """The network's own modules, in their order."""
    latency_ms: float | None = None
    """Median time of one forward pass, where the training measured it."""
    schema: int = SCHEMA

    @property
    def disagreement(self) -> float | None:
        """By how much of ``2 x macs`` the FLOPs differ from it; None where there are not both."""
        return self.flops / (2 * self.macs) - 1 if self.flops is not None and self.macs else None

    @property
    def is_doubtful(self) -> bool:
        """Whether the two counters differ by more than they may."""
        return self.disagreement is not None and abs(self.disagreement) > LARGEST_DISAGREEMENT
