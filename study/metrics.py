"""`Metric`: the name, direction, bounds, unit and scale of a score."""

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
    """The name in reports; `name` where it is empty."""
    unit: str = "%"
    """The unit of a scaled value; empty for a number without a unit."""
    scale: float = 100.0
    """The factor between a value and its printed form: 100 turns shares into percentage points."""
    direction: Direction = "maximize"
    """Whether higher or lower values are better."""
    low: float | None = 0.0
    """The least possible value; None where there is no bound."""
    high: float | None = 1.0
    """The greatest possible value; None where there is no bound."""
    chance: float | None = None
    """The expected value of guessing; None where it is unknown."""
    compute: Callable[..., float] | None = None
    """``compute(labels, scores)`` returns the value for a set of examples, so that the harness can recompute it."""
    about: str = ""
    """A description that follows the label in reports."""
    is_proportion: bool = False
    """Whether the value is a share of correct examples, so that its sampling error is binomial."""

    @property
    def title(self) -> str:
        """The label, or the name where there is no label."""
        return self.label or self.name

    @property
    def worst(self) -> float:
        """The worst possible value; infinite where that side has no bound."""
        if self.direction == "maximize":
            return -math.inf if self.low is None else self.low
        return math.inf if self.high is None else self.high

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.direction == "maximize" else -1

    def gain(self, value: float) -> float:
        """Return `value` with its sign changed where lower is better, so that higher is better."""
        return value if self.direction == "maximize" else -value

    @property
    def points(self) -> str:
        """The unit of a difference: ``points`` for per cent, else the metric's own unit."""
        return "points" if self.unit == "%" else self.unit


def record_of(metric: Metric) -> dict[str, Any]:
    """Return the fields of a metric that JSON can hold: all but its function."""
    return {name: value for name, value in vars(metric).items() if name != "compute"}
