"""The record of one benchmark, its table and its JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from rich.table import Table

from study.machine import machine

NEEDS_GPU = "needs a GPU"
"""Stands in place of a figure that only a GPU can give."""


@dataclass(frozen=True)
class Measured:
    """One figure, measured on two sides in one process, in turn."""

    name: str
    """What is measured, such as ``step, 16 x 224 x 224, bf16``."""
    unit: str
    """The unit of both figures, such as ``ms`` or ``clips/s``."""
    before: float | None
    """The figure of the baseline; None if it needs hardware that this machine lacks."""
    after: float | None
    """The figure of this package; None as `before`."""
    baseline: str = "before"
    """What the baseline is, such as ``torchvision, fp32``."""
    lower_is_better: bool = True
    repeats: int = 1
    """Measurements of each side; the figures are their medians."""
    device: str = ""
    """The model of the processor or GPU."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python and the libraries."""

    @property
    def ratio(self) -> float | None:
        """How many times better `after` is than `before`; None where a figure is missing or 0."""
        if not self.before or not self.after:
            return None
        return self.before / self.after if self.lower_is_better else self.after / self.before


def on_this_machine(device: Literal["cpu", "cuda"] = "cpu") -> tuple[str, Mapping[str, str]]:
    """Return the model of the processor or GPU, and the versions of Python and the libraries."""
    facts = machine(device)
    return facts.hardware, facts.versions


def in_turn(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Measure each side `repeats` times, the sides in turn and in alternating order; return the medians.

    Args:
        sides: By name, a function that measures once and returns the figure.
        repeats: Measurements of each side, after one of each that warms up and does not count.
    """
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(repeats + 1):
        for name in sides if number % 2 else reversed(list(sides)):
            figure = sides[name]()
            if number > 0:
                figures[name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


def as_table(results: Iterable[Measured], title: str | None = None) -> Table:
    """Return the results, one row each."""
    table = Table(
        "benchmark", "unit", "baseline", "before", "after", "ratio", "repeats", "device", title=title
    )
    for result in results:
        table.add_row(
            result.name,
            result.unit,
            result.baseline,
            _text(result.before),
            _text(result.after),
            "" if result.ratio is None else f"{result.ratio:.2f}",
            str(result.repeats),
            result.device,
        )
    return table


def as_json(results: Sequence[Measured]) -> str:
    """Return the results with their ratios as JSON."""
    return json.dumps([{**asdict(result), "ratio": result.ratio} for result in results], indent=2)


def _text(figure: float | None) -> str:
    return NEEDS_GPU if figure is None else f"{figure:.4g}"
