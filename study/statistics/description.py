"""What describes values without judging them: means, shares, curves, fronts, chances; without NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod, sqrt
from statistics import fmean, stdev
from statistics import median as _median

Z_95 = 1.959964
"""Half-width of a 95 % normal interval, in standard errors."""


def mean(values: Iterable[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    return fmean(values)


def median(values: Iterable[float]) -> float:
    """Return the median of at least one value."""
    return _median(values)


def percentages(parts: Sequence[float], total: float | None = None) -> tuple[float | None, ...]:
    """Return each part in % of the total, by default that of the parts; None where it is 0."""
    whole = sum(parts) if total is None else total
    return tuple(100 * part / whole if whole else None for part in parts)


def fold_overlap(test: Sequence[int], train: Sequence[int]) -> float:
    """Return test examples / training examples of folds, rho/(1 - rho) of Nadeau & Bengio 2003; 0 without folds."""
    return sum(test) / sum(train) if train else 0.0


def pareto_front(costs: Mapping[str, float], gains: Mapping[str, float]) -> list[str]:
    """Return the names that no other one beats in both cost and gain, by cost."""
    front: list[str] = []
    for name in sorted(gains, key=lambda name: (costs[name], -gains[name])):
        if not front or gains[name] > gains[front[-1]]:
            front.append(name)
    return front


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
