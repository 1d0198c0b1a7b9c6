"""Scores over several data sets: interquartile means, performance profiles, and ranks where data sets are many.

Agarwal et al. 2021 (arXiv 2108.13264) for interquartile means and profiles with a bootstrap stratified by data set;
Demsar 2006 for ranks, which need about ten data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FEWEST_FOR_RANKS = 10
"""With fewer data sets the test of ranks finds next to nothing, and is not made."""
RESAMPLES = 2000
"""Number of bootstrap resamples."""

Scores = Sequence[NDArray[np.float64]]
"""The scores of one method: for each data set, (n_d,), one for each repetition."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of k methods over N data sets; 1 is the best."""

    means: tuple[float, ...]
    p: float
    """Of equal ranks: Friedman's statistic with the F distribution of Iman and Davenport 1980."""
    critical_difference: float
    """Mean ranks that differ by no less do so at the level alpha (Nemenyi)."""


def interquartile_mean(scores: Scores) -> float:
    """Return the mean of the middle half of the runs of all data sets together: 25 % are cut off at each end."""
    return float(stats.trim_mean(np.concatenate(scores), 0.25))


def interquartile_interval(scores: Scores, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the percentile interval of the interquartile mean by a bootstrap that resamples the runs of each data set.

    Args:
        scores: (n_d,) for each data set.
        level: The confidence.
        seed: Of the resampling; equal seeds and sizes draw equal repetitions.
    """
    rng = np.random.default_rng(seed)
    drawn = [own[rng.integers(own.size, size=(RESAMPLES, own.size))] for own in scores]
    means = stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def profile(scores: Scores, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of runs whose score is above each threshold, (t,): the mean of the data sets' shares."""
    return np.asarray(np.mean([(own[:, None] > thresholds).mean(axis=0) for own in scores], axis=0))


def ranks(gains: NDArray[np.float64], alpha: float = 0.05) -> Ranks:
    """Rank methods on each data set and test whether their mean ranks are equal.

    ``chi2 = 12N/(k(k + 1)) (sum R_j^2 - k(k + 1)^2/4)``, corrected for ties as in scipy, and ``F = (N - 1) chi2/(N(k -
    1) - chi2)`` with k - 1 and (k - 1)(N - 1) degrees of freedom; ``CD = q sqrt(k(k + 1)/(6N))`` with q the studentized
    range over sqrt(2).

    Args:
        gains: (N, k) the mean over repetitions of each method on each data set; more is better.
        alpha: The level of the critical difference.

    Raises:
        ValueError: There are fewer than `FEWEST_FOR_RANKS` data sets or three methods.
    """
    sets, methods = gains.shape
    if sets < FEWEST_FOR_RANKS or methods < 3:
        raise ValueError(f"{sets} data sets and {methods} methods: ranks need {FEWEST_FOR_RANKS} and 3.")
    means = stats.rankdata(-gains, axis=1).mean(axis=0)
    chi2 = float(stats.friedmanchisquare(*gains.T).statistic)
    left = sets * (methods - 1) - chi2
    freedom = methods - 1, (methods - 1) * (sets - 1)
    p = float(stats.f.sf((sets - 1) * chi2 / left, *freedom)) if left > 0 else 0.0
    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / sqrt(2)
    return Ranks(tuple(map(float, means)), p, q * sqrt(methods * (methods + 1) / (6 * sets)))
