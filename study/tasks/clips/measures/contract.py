"""Input of a measure, and declaration of the ground truth that it needs. Imported when a study is planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Measure = TypeVar("Measure", bound=Callable[..., Any])


@dataclass(frozen=True)
class Observed:
    """Details recorded by one trained network for the n clips of the test split, in the split's order."""

    labels: NDArray[np.int64]
    """(n,) true classes, from 0."""
    sources: NDArray[np.str_]
    """(n,) person or film of each clip."""
    truth: Mapping[str, NDArray[np.float32]]
    """Ground truth of a procedural data set: ``intensity``, (n, T), in [0, 1]."""
    details: Mapping[str, NDArray[np.float32]]
    """(n, …) each: details that the network recorded."""


def needs_truth(*names: str) -> Callable[[Measure], Measure]:
    """Declare the ground truth that a measure needs, such as ``intensity``."""

    def declare(measure: Measure) -> Measure:
        measure.needed_truth = names  # type: ignore[attr-defined]
        return measure

    return declare


def needed_truth(measure: Callable[..., Any]) -> tuple[str, ...]:
    """Return the ground truth that a measure declares with `needs_truth`."""
    names: tuple[str, ...] = getattr(measure, "needed_truth", ())
    return names
