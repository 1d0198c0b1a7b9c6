"""`Profile`: the record of a network's cost."""

from __future__ import annotations

from dataclasses import dataclass

from study.records.serialization import SCHEMA

LARGEST_DISAGREEMENT = 0.05
"""The largest relative difference between two counters of operations; beyond it one of them must be wrong."""


@dataclass(frozen=True)
class PartCost:
    """The cost of one part of a network, for one example."""

    name: str
    parameters: int
    """Trainable values."""
    macs: int


@dataclass(frozen=True)
class Profile:
    """The cost of a network, for one example."""

    parameters: int
    """Trainable values."""
    macs: int
    """Multiply-accumulates of one forward pass, by fvcore."""
    uncounted: tuple[str, ...]
    """Operators that the counter does not support."""
    input_shape: tuple[int, ...]
    """Batch, channels, frames, height, width."""
    unused: int | None = None
    """Trainable values that get no gradient in a training step; None, here and below, where not counted."""
    unused_tensors: tuple[str, ...] = ()
    """The names of their tensors."""
    frozen: int = 0
    """Values of parameters that are not trained."""
    flops: int | None = None
    """Floating-point operations of one forward pass, by torch's counter: two for each multiply-accumulate."""
    activation_bytes: int | None = None
    """Memory that one example of a training batch needs for the backward pass."""
    parts: tuple[PartCost, ...] = ()
    """The network's own modules, in their order."""
    latency_ms: float | None = None
    """Median time of one forward pass, where the training measured it."""
    schema: int = SCHEMA

    @property
    def disagreement(self) -> float | None:
        """The relative difference of the FLOPs from ``2 x macs``; None where either is missing."""
        return self.flops / (2 * self.macs) - 1 if self.flops is not None and self.macs else None

    @property
    def is_doubtful(self) -> bool:
        """Whether the two counters differ by more than `LARGEST_DISAGREEMENT`."""
        return self.disagreement is not None and abs(self.disagreement) > LARGEST_DISAGREEMENT
