"""A metric: what a training is judged by, and how its values are read and printed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Metric:
    """One metric of a task. Values are in the metric's own unit; reports multiply them by `scale`."""

    name: str
    """The key under which values are reported and recorded."""
    label: str = ""
    """What reports call it; the name where it is empty."""
    unit: str = "%"
    """The unit of a scaled value; empty for a number without a unit."""
    scale: float = 100.0
    """What a value is multiplied by for people: 100 turns shares into percentage points."""
    direction: Direction = "maximize"
    """Whether higher or lower values are better."""
    low: float | None = 0.0
    """The least possible value, None where there is none."""
    high: float | None = 1.0
    """The greatest possible value, None where there is none."""
    chance: float | None = None
    """What guessing scores, None where that is not known."""
    compute: Callable[..., float] | None = None
    """``compute(labels, scores)`` returns the value for a set of examples, so that the harness can recompute it."""
    about: str = ""
    """What the metric is, in words that follow its label."""
    is_proportion: bool = False
    """Whether the value is the share of examples that are right, so that its sampling error is binomial."""

    @property
    def title(self) -> str:
        """The label, or the name where there is no label."""
        return self.label or self.name

    @property
    def worst(self) -> float:
        """The worst possible value; an infinity where that side has no bound."""
        if self.direction == "maximize":
            return -math.inf if self.low is None else self.low
        return math.inf if self.high is None else self.high

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.direction == "maximize" else -1

    def gain(self, value: float) -> float:
        """Return a value turned so that higher is better."""
        return value if self.direction == "maximize" else -value

    @property
    def points(self) -> str:
        """The unit of a difference: ``points`` for per cent, else the metric's own unit."""
        return "points" if self.unit == "%" else self.unit


def record_of(metric: Metric) -> dict[str, Any]:
    """Return what of a metric can be kept as JSON: everything but its function."""
    return {name: value for name, value in vars(metric).items() if name != "compute"}
