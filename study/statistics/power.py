"""Statistical power: repetitions needed for an effect, and the smallest effect for a number of repetitions.

Power of the two-sided paired t test at level a, by the noncentral t distribution with n - 1 degrees of
freedom and noncentrality d_z sqrt(n): ``P(|T| > t(1 - a/2, n - 1))``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil, log2, sqrt

import numpy as np
from scipy import optimize, special, stats

MOST_REPETITIONS = 1000
"""The largest number of repetitions considered; functions return None beyond it."""


def power(effect: float, n: int, alpha: float) -> float:
    """Return the probability that n differences of mean `effect` standard deviations differ significantly from 0."""
    critical = -special.stdtrit(n - 1, alpha / 2)
    shift = abs(effect) * sqrt(n)
    far_tail = np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift))  # scipy underflows to nan there
    return float(stats.nct.sf(critical, n - 1, shift) + far_tail)


def equivalence_power(effect: float, margin: float, n: int, alpha: float) -> float:
    """Return the probability that the 1 - 2 alpha interval lies within ±margin; both in standard deviations.

    ``P(T(effect - margin) < -t) + P(T(effect + margin) > t) - 1`` with t = t(1 - alpha, n - 1): a lower
    bound, close at high power (Phillips 1990).
    """
    critical = -special.stdtrit(n - 1, alpha)
    below = stats.nct.sf(critical, n - 1, (margin - effect) * sqrt(n))
    above = stats.nct.sf(critical, n - 1, (margin + effect) * sqrt(n))
    return float(max(0.0, below + above - 1))


def repetitions_to_detect(mean: float, sd: float, alpha: float, target: float = 0.8) -> int | None:
    """Return the least n that detects a true mean difference with the target power at level alpha.

    None where it is above `MOST_REPETITIONS`, as for a mean of 0. Where `sd` is 0 it is the least n at which equal
    differences reach alpha in a sign-flip test.
    """
    if mean == 0:
        return None
    if sd == 0:
        return repetitions_for_rank_test(alpha)
    return _least_n(lambda n: power(mean / sd, n, alpha), target)


def repetitions_to_equate(
    mean: float, sd: float, rope: float, alpha: float, target: float = 0.8
) -> int | None:
    """Return the least n that shows a true mean difference to lie within ±rope; None where no n does."""
    if sd == 0 or abs(mean) >= rope:
        return None
    return _least_n(lambda n: equivalence_power(mean / sd, rope / sd, n, alpha), target)


def _least_n(power_at: Callable[[int], float], target: float) -> int | None:
    if power_at(MOST_REPETITIONS) < target:
        return None
    low, high = 1, MOST_REPETITIONS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle) >= target else (middle, high)
    return high


@cache
def smallest_effect(n: int, alpha: float = 0.05, target: float = 0.8) -> float | None:
    """Return the least effect, in standard deviations of the differences, that n repetitions detect; None for n < 2."""
    if n < 2:
        return None
    return float(optimize.brentq(lambda effect: power(effect, n, alpha) - target, 0.0, 2 / alpha))


def repetitions_for_rank_test(alpha: float) -> int:
    """Return the least n at which a sign-flip or signed-rank test can reach alpha, ``1 + log2(1/alpha)``."""
    return ceil(1 + log2(1 / alpha))
