"""What a measure is given, and how it says what truth it needs. Light: planning a study imports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Measure = TypeVar("Measure", bound=Callable[..., Any])


@dataclass(frozen=True)
class Observed:
    """What the parts of one trained network did with the n clips of the test split, in the split's order."""

    labels: NDArray[np.int64]
    """(n,) true classes, from 0."""
    sources: NDArray[np.str_]
    """(n,) the person or film that each clip comes from."""
    truth: Mapping[str, NDArray[np.float32]]
    """What a procedural data set knows of its clips: ``intensity``, (n, T), in [0, 1]."""
    details: Mapping[str, NDArray[np.float32]]
    """(n, …) each: what the network wrote into the details that it was handed."""


def needs_truth(*names: str) -> Callable[[Measure], Measure]:
    """Declare the ground truth without which a measure has no meaning, such as ``intensity``."""

    def declared(measure: Measure) -> Measure:
        measure.needed_truth = names  # type: ignore[attr-defined]
        return measure

    return declared


def needed_truth(measure: Callable[..., Any]) -> tuple[str, ...]:
    """Return what `needs_truth` declared of a measure."""
    names: tuple[str, ...] = getattr(measure, "needed_truth", ())
    return names
