"""Power of the verdict: the probability that a true difference of some size is called *helps*."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import sqrt

import numpy as np
from scipy import special

from study.statistics.families import BORROW_FROM, simulated_variances
from study.statistics.inference import FEWEST, FEWEST_FOR_SATTERTHWAITE
from study.statistics.sequential import operation
from study.statistics.spread import Spread

QUANTILES = 2000
"""Points at which the distribution of the observed variance is averaged: power is exact to about 1e-4."""
FAMILIES = 4000
"""Simulated families of borrowed variances: the standard error of a power is below .003."""
STUDIES = 6000
"""Simulated studies with looks: the standard error of a power is at most .0065."""
SEED = 20_231_127
TABULATED_REPETITIONS = (3, 5, 8, 12, 20)
TABULATED_DESIGNS = tuple((n,) for n in TABULATED_REPETITIONS)
TABULATED_EFFECTS = (1.0, 1.5, 2.0)
"""True differences of the table, in multiples of the least difference of interest."""


def power(
    effect: float,
    n: int,
    sd: float,
    rope: float,
    alpha: float,
    comparisons: int = 1,
    overlap: float = 0.0,
    examples: float = 0.0,
) -> float:
    """Return P(the 1 - alpha/m interval lies above 0 **and** the mean is at least `rope`); 0 below three repetitions.

    Given the variance s^2 that decides, the verdict is *helps* where the mean exceeds ``c = max(rope, t(1 - alpha/2m,
    nu) sqrt(s^2 (1/n + overlap) + examples))``, and the mean is normal and independent of s^2. The result is the mean
    of that normal probability over the distribution of s^2: the quantiles of ``sd^2 chi2(n - 1)/(n - 1)`` with nu = n -
    1 or, where variances are borrowed (`families`), simulated families of equal variances. At rope 0 and m = 1 it is
    the upper tail of the noncentral t distribution.

    Args:
        effect: True difference, in the metric's unit, like `sd` and `rope`.
        n: Repetitions, or folds.
        sd: True standard deviation of the paired differences.
        rope: The least difference of interest.
        alpha: The family's error rate, two-sided.
        comparisons: Its size m; from three on their variances are borrowed, except under folds.
        overlap: Test examples / training examples where n are folds.
        examples: Variance of the mean that the choice of test examples adds, taken as known.
    """
    if n < FEWEST:
        return 0.0
    if comparisons < BORROW_FROM or overlap:
        share = (np.arange(QUANTILES) + 0.5) / QUANTILES
        s2, df = special.chdtri(n - 1, share) / (n - 1), np.full(QUANTILES, n - 1.0)
    else:
        s2, df = simulated_variances(n, comparisons, FAMILIES, SEED)
    of_values = sd**2 * s2 * (1 / n + overlap)
    total = of_values + examples
    total_df = np.where(of_values > 0, df * (total / np.where(of_values > 0, of_values, 1.0)) ** 2, np.inf)
    level = 1 - alpha / comparisons / 2
    half = special.stdtrit(np.minimum(total_df, 1e6), level) * np.sqrt(total)
    if n < FEWEST_FOR_SATTERTHWAITE:
        half = np.maximum(half, special.stdtrit(df, level) * np.sqrt(of_values))
    least = np.maximum(rope, half)
    scale = sqrt(sd**2 * (1 / n + overlap) + examples)
    if scale == 0:
        return float(effect >= rope and effect > 0)
    return float(np.mean(special.ndtr((effect - least) / scale)))


@cache
def power_of_looks(
    effects: tuple[float, ...],
    looks: tuple[int, ...],
    sd: float,
    rope: float,
    alpha: float,
    comparisons: int = 1,
    examples: float = 0.0,
) -> tuple[float, ...]:
    """Return P(*helps* at one of the looks) at each effect, simulated in seconds; arguments as those of `power`.

    The other comparisons of the family have no true difference and are dropped where a look closes them.
    """
    if sd == 0:
        return tuple(float(effect >= rope and effect > 0) for effect in effects)
    scaled = [effect / sd for effect in effects]
    found = operation(scaled, rope / sd, looks, alpha, comparisons, v_c=examples / sd**2, studies=STUDIES)
    return tuple(each.helps for each in found)


def power_table(
    spread: Spread,
    rope: float,
    alpha: float,
    comparisons: int = 1,
    designs: Sequence[tuple[int, ...]] = TABULATED_DESIGNS,
    overlap: float = 0.0,
    effects: Sequence[float] = TABULATED_EFFECTS,
) -> dict[tuple[int, ...], tuple[float, ...]]:
    """Return the power at each of `effects` times `rope` by design: a number of repetitions or folds, or the looks."""

    true = tuple(times * rope for times in effects)

    def of(design: tuple[int, ...]) -> tuple[float, ...]:
        if len(design) > 1:
            return power_of_looks(true, design, spread.sd, rope, alpha, comparisons, spread.examples)
        return tuple(
            power(effect, design[0], spread.sd, rope, alpha, comparisons, overlap, spread.examples)
            for effect in true
        )

    return {design: of(design) for design in designs}


def tabulated_designs(
    folds: int = 0, looks: tuple[int, ...] = (), repetitions: int | None = None
) -> list[tuple[int, ...]]:
    """Return the designs of a power table: the folds, or numbers of repetitions with the study's own or its looks."""
    if folds > 1:
        return [(folds,)]
    sizes = {*TABULATED_REPETITIONS, *(() if looks or repetitions is None else (repetitions,))}
    return [*((n,) for n in sorted(sizes)), *((looks,) if looks else ())]
