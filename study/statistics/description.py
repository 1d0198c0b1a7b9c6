"""What describes scores without judging them: mean, standard deviation, mean curves, chances; without NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod, sqrt
from statistics import fmean, stdev

Z_95 = 1.959964
"""Half-width of a 95 % normal interval, in standard errors."""


def mean_and_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean of at least one value and its standard deviation (n - 1); that is None for one value."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean of curves by position, over the positions that every curve has."""
    shared = [at for at in curves[0] if all(at in curve for curve in curves)] if curves else []
    return {at: fmean(curve[at] for curve in curves) for at in shared}


def binomial_half_width(share: float, examples: int) -> float:
    """Return ``1.96 sqrt(p (1 - p)/n)``, half of the 95 % interval of a share of n independent examples (Wald)."""
    return Z_95 * sqrt(max(0.0, share * (1 - share)) / examples)


def false_verdict_chance(levels: Iterable[float]) -> float:
    """Return ``1 - prod(1 - level)``, the chance of any false verdict of independent ones at these levels."""
    return 1 - prod(1 - level for level in levels)
