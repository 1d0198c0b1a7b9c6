"""One linear contrast of scores over repetitions: its mean, standard error and interval.

Differences of two variants, main effects, interactions, slopes, Shapley values and claims are all contrasts and are
all judged by `Estimate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

FEWEST = 3
"""Fewer repetitions, or folds, have no interval, p value, posterior or verdict: two show too little of the spread."""
FEWEST_FOR_SATTERTHWAITE = 5
"""With fewer repetitions the interval for new test examples is at least as wide as that for exactly these."""
DECIMALS = 9
"""Values are rounded to this many decimals before they are compared, so that rounding errors are no spread."""


@dataclass(frozen=True)
class Variance:
    """A variance of values over repetitions that replaces their own, such as one borrowed from other comparisons."""

    s2: float
    df: float


@dataclass(frozen=True)
class Estimate:
    """One contrast, in the unit of its values; its sign is that of the values."""

    mean: float
    n: int
    """Repetitions, or folds where the values are folds."""
    sd: float | None
    """Standard deviation of the values, with n - 1 in the denominator; None for one value, 0 where all are equal."""
    error: float | None
    """The deciding standard error of the mean; None below two values."""
    df: float | None
    """Degrees of freedom of `error`: Satterthwaite's where two sources of variance add up."""
    test_error: float | None
    """Standard error of the mean for exactly these test examples; None below two values."""
    test_df: float | None
    """Degrees of freedom of `test_error`."""
    v_c: float | None = None
    """Jackknife variance over sources of the mean over repetitions; None without replicates."""
    v_sc: float | None = None
    """The part of `v_c` that is repetition x example noise, already inside sd^2/n; None without replicates."""
    sources: int | None = None
    """Number of sources m; None without replicates."""

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return ``mean ± t((1 + level)/2, df) error``; None below three values.

        Where all values are equal, and so are the replicates, it is the point that they share. Below
        `FEWEST_FOR_SATTERTHWAITE` values it is no narrower than the interval for exactly these test examples:
        Satterthwaite's degrees of freedom grow with the second variance from 2 or 3, and the interval alone would cover
        .92 to .95.
        """
        if self.n < FEWEST or not self.errors:
            return None
        half = max(float(special.stdtrit(df, (1 + level) / 2)) * error for error, df in self.errors)
        return self.mean - half, self.mean + half

    @property
    def errors(self) -> tuple[tuple[float, float], ...]:
        """The standard errors that an interval must hold, each with its degrees of freedom; empty below two values."""
        if self.error is None or self.df is None or self.test_error is None or self.test_df is None:
            return ()
        deciding = (self.error, self.df)
        if self.n >= FEWEST_FOR_SATTERTHWAITE:
            return (deciding,)
        return deciding, (self.test_error, self.test_df)

    def __neg__(self) -> Estimate:
        """Return the estimate of the contrast with the opposite sign."""
        return replace(self, mean=-self.mean)

    def on_test_set(self) -> Estimate:
        """Return the estimate for exactly these test examples, whose standard error has no term for examples."""
        return replace(self, error=self.test_error, df=self.test_df)


def estimate(
    values: ArrayLike,
    replicates: ArrayLike | None = None,
    overlap: float = 0.0,
    variance: Variance | None = None,
) -> Estimate:
    """Estimate a contrast from one value for each repetition, or for each fold.

    Without folds ``error^2 = s^2/n + max(0, v_c - v_sc)``: s^2/n from the values, v_c the jackknife variance over
    sources of the mean replicate, ``v_sc = sum_i jackknife(x_i - mean x) / (n (n - 1))`` its part that is inside
    s^2/n. Degrees of freedom by `satterthwaite`, never fewer than those of s^2.
    Under folds ``error^2 = (1/n + overlap) s^2`` with n - 1 (Nadeau & Bengio 2003), without a term for examples.

    Args:
        values: (n,) the contrast of each repetition; for folds, the mean over the repetitions of each fold.
        replicates: (n, m) the same contrast with each of m sources of test examples left out, in one common order.
            Fewer than two sources give no variance.
        overlap: Test examples / training examples where the values are folds; 0 where they are repetitions.
        variance: Replaces s^2 and its n - 1 degrees of freedom.

    Raises:
        ValueError: There are no values, or the replicates are not (n, m).
    """
    rounded = np.round(np.asarray(values, dtype=float), DECIMALS)
    n = rounded.size
    if n == 0:
        raise ValueError("No values to estimate from.")
    equal = np.ptp(rounded) == 0
    mean = float(rounded[0] if equal else rounded.mean())
    left_out = None if replicates is None else np.asarray(replicates, dtype=float)
    if left_out is not None and (left_out.ndim != 2 or len(left_out) != n):
        raise ValueError(f"Replicates of shape {left_out.shape} for {n} values.")
    v_c = v_sc = sources = None
    if left_out is not None and left_out.shape[1] > 1:
        sources = left_out.shape[1]
        v_c = jackknife_variance(left_out.mean(axis=0))
        deviations = left_out - left_out.mean(axis=0)
        v_sc = sum(map(jackknife_variance, deviations)) / (n * (n - 1)) if n > 1 else 0.0
    if n == 1:
        return Estimate(mean, n, None, None, None, None, None, v_c, v_sc, sources)
    sd = 0.0 if equal else float(rounded.std(ddof=1))
    s2, df = (sd**2, float(n - 1)) if variance is None else (variance.s2, variance.df)
    of_values = s2 * (1 / n + overlap)
    error2, total_df = of_values, df
    if v_c is not None and v_sc is not None and sources is not None and overlap == 0 and v_c > v_sc:
        error2 += v_c - v_sc
        parts = (of_values, df), (v_c, sources - 1.0), (-v_sc, (n - 1.0) * (sources - 1))
        total_df = max(df, satterthwaite(*parts))
    return Estimate(
        mean, n, sd, sqrt(error2), total_df, sqrt(of_values), df, v_c=v_c, v_sc=v_sc, sources=sources
    )


def satterthwaite(*parts: tuple[float, float]) -> float:
    """Return the degrees of freedom ``(sum v)^2 / sum(v^2 / df)`` of a sum of variances (Satterthwaite 1946).

    Args:
        parts: Pairs of a variance v, negative where it is subtracted, and its degrees of freedom; not all are 0.
    """
    total = sum(v for v, _ in parts)
    return float(total**2 / sum(v**2 / df for v, df in parts))


def jackknife_variance(replicates: ArrayLike) -> float:
    """Return the jackknife variance ``(m - 1)/m sum (x_i - mean x)^2`` of m leave-one-out values (Tukey 1958).

    Args:
        replicates: (m,) a statistic with each source left out.
    """
    left_out = np.round(np.asarray(replicates, dtype=float), DECIMALS + 3)
    return float((left_out.size - 1) * left_out.var())


def joined_replicates(samples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the replicates of a sum of statistics on independent samples of sources, (n, m_1 + m_2 + …).

    Leaving out a source of one sample changes nothing in the others. Deviations are scaled by ``sqrt((1 - 1/m_k)/(1 -
    1/m))`` such that the jackknife variance over all columns is the sum of those over the columns of each.

    Args:
        samples: (n, m_k) the replicates of each statistic.
    """
    m = sum(sample.shape[1] for sample in samples)
    means = [sample.mean(axis=1, keepdims=True) for sample in samples]
    deviations = [
        (sample - mean) * sqrt((1 - 1 / sample.shape[1]) / (1 - 1 / m))
        for sample, mean in zip(samples, means, strict=True)
    ]
    return np.asarray(np.concatenate(deviations, axis=1) + sum(means))
