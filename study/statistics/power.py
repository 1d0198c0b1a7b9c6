"""How many seeds a question needs, and what a number of seeds can answer.

Power of the two-sided paired t test at level a, by the noncentral t distribution with n - 1 degrees of
freedom and noncentrality d_z sqrt(n): ``P(|T| > t(1 - a/2, n - 1))``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil, log2, sqrt

import numpy as np
from scipy import optimize, special, stats

MOST_SEEDS = 1000
"""Above this nobody trains: the answer is then None."""


def power(effect: float, n: int, alpha: float) -> float:
    """Return the chance that n differences of mean `effect` standard deviations are told from 0."""
    critical = -special.stdtrit(n - 1, alpha / 2)
    shift = abs(effect) * sqrt(n)
    far_tail = np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift))  # scipy underflows to nan there
    return float(stats.nct.sf(critical, n - 1, shift) + far_tail)


def equivalence_power(effect: float, margin: float, n: int, alpha: float) -> float:
    """Return the chance that the 1 - 2 alpha interval lies within ±margin; both in standard deviations.

    ``P(T(effect - margin) < -t) + P(T(effect + margin) > t) - 1`` with t = t(1 - alpha, n - 1): a lower
    bound, close where the power is of use (Phillips 1990).
    """
    critical = -special.stdtrit(n - 1, alpha)
    below = stats.nct.sf(critical, n - 1, (margin - effect) * sqrt(n))
    above = stats.nct.sf(critical, n - 1, (margin + effect) * sqrt(n))
    return float(max(0.0, below + above - 1))


def seeds_to_detect(mean: float, sd: float, alpha: float, wanted: float = 0.8) -> int | None:
    """Return the least n that tells a true mean difference from 0 with the wanted power at level alpha.

    None where it is above `MOST_SEEDS`, as for a mean of 0. Where `sd` is 0 it is the least n at which equal
    differences reach alpha in a sign-flip test.
    """
    if mean == 0:
        return None
    if sd == 0:
        return seeds_for_rank_test(alpha)
    return _least(lambda n: power(mean / sd, n, alpha), wanted)


def seeds_to_equate(mean: float, sd: float, rope: float, alpha: float, wanted: float = 0.8) -> int | None:
    """Return the least n that shows a true mean difference to lie within ±rope; None where none does."""
    if sd == 0 or abs(mean) >= rope:
        return None
    return _least(lambda n: equivalence_power(mean / sd, rope / sd, n, alpha), wanted)


def _least(power_at: Callable[[int], float], wanted: float) -> int | None:
    if power_at(MOST_SEEDS) < wanted:
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_at(middle) >= wanted else (middle, high)
    return high


@cache
def smallest_effect(n: int, alpha: float = 0.05, wanted: float = 0.8) -> float | None:
    """Return the least effect, in standard deviations of the differences, that n seeds show; None for one."""
    if n < 2:
        return None
    return float(optimize.brentq(lambda effect: power(effect, n, alpha) - wanted, 0.0, 2 / alpha))


def seeds_for_rank_test(alpha: float) -> int:
    """Return the least n at which a sign-flip or signed-rank test can reach alpha, ``1 + log2(1/alpha)``."""
    return ceil(1 + log2(1 / alpha))
