"""Builds estimates from their mean and spread, for tests of the statistics."""

from __future__ import annotations

from math import sqrt

from study.statistics.inference import Estimate


def of(mean: float, sd: float | None, n: int, overlap: float = 0.0) -> Estimate:
    """Return the estimate of n repetitions, or folds, with the given mean and standard deviation."""
    if sd is None:
        return Estimate(mean, n, None, None, None, None, None)
    error = sd * sqrt(1 / n + overlap)
    return Estimate(mean, n, sd, error, n - 1.0, error, n - 1.0)
