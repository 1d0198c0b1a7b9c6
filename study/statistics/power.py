"""Power of the verdict: the probability that a true difference of some size is called *helps*."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from scipy import special

from study.statistics.spread import Spread
from study.statistics.verdicts import FEWEST

QUANTILES = 2000
"""Points at which the distribution of the observed variance is averaged: power is exact to about 1e-4."""
TABULATED_REPETITIONS = (3, 5, 8, 12, 20)
TABULATED_EFFECTS = (1.0, 1.5, 2.0)
"""True differences of the table, in multiples of the least difference of interest."""


def power(
    effect: float,
    n: int,
    sd: float,
    rope: float,
    alpha: float,
    overlap: float = 0.0,
    examples: float = 0.0,
) -> float:
    """Return P(the 1 - alpha interval lies above 0 **and** the mean is at least `rope`); 0 below three repetitions.

    Given the observed variance s^2 the verdict is *helps* where the mean exceeds ``c = max(rope, t(1 - alpha/2, nu)
    sqrt(s^2 (1/n + overlap) + examples))``, and the mean is normal and independent of s^2. The result is the mean of
    that normal probability over the quantiles of s^2 ~ sd^2 chi2(n - 1)/(n - 1). At rope 0 it is the upper tail of
    the noncentral t distribution.

    Args:
        effect: True difference, in the metric's unit, like `sd` and `rope`.
        n: Repetitions, or folds.
        sd: True standard deviation of the paired differences.
        rope: The least difference of interest.
        alpha: Two-sided, already divided by the size of the family.
        overlap: Test examples / training examples where n are folds.
        examples: Variance of the mean that the choice of test examples adds, taken as known.
    """
    if n < FEWEST:
        return 0.0
    share = (np.arange(QUANTILES) + 0.5) / QUANTILES
    of_values = sd**2 * special.chdtri(n - 1, share) / (n - 1) * (1 / n + overlap)
    total = of_values + examples
    df = np.where(of_values > 0, (n - 1) * (total / np.where(of_values > 0, of_values, 1.0)) ** 2, np.inf)
    critical = special.stdtrit(np.minimum(df, 1e6), 1 - alpha / 2)
    least = np.maximum(rope, critical * np.sqrt(total))
    scale = sqrt(sd**2 * (1 / n + overlap) + examples)
    if scale == 0:
        return float(effect >= rope and effect > 0)
    return float(np.mean(special.ndtr((effect - least) / scale)))


def power_table(
    spread: Spread,
    rope: float,
    alpha: float,
    repetitions: Sequence[int] = TABULATED_REPETITIONS,
    overlap: float = 0.0,
) -> dict[int, tuple[float, ...]]:
    """Return by number of repetitions the power at each of `TABULATED_EFFECTS` times `rope`."""
    return {
        n: tuple(
            power(times * rope, n, spread.sd, rope, alpha, overlap, spread.examples)
            for times in TABULATED_EFFECTS
        )
        for n in repetitions
    }
