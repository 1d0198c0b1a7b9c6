"""What describes a contrast beside its interval: wins, effect size, p, posterior, correlation of the arms."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from study.statistics.inference import DECIMALS, FEWEST, Estimate

FEWEST_FOR_EFFECT_INTERVAL = 5
FEWEST_FOR_CORRELATION_INTERVAL = 4


def wins(gains: ArrayLike) -> float:
    """Return in how many of the gains (n,) the variant is better, ties counted half: n times P(better)."""
    return float(np.sum((np.sign(np.round(np.asarray(gains, dtype=float), DECIMALS)) + 1) / 2))


def correlation(a: ArrayLike, b: ArrayLike) -> float | None:
    """Return Pearson's correlation of two arms of shape (n,), paired by repetition.

    None below three pairs, and where an arm does not vary.
    """
    arms = np.round(np.stack([np.asarray(a, dtype=float), np.asarray(b, dtype=float)]), DECIMALS)
    if arms.shape[1] < 3 or np.any(np.ptp(arms, axis=1) == 0):
        return None
    return float(np.clip(np.corrcoef(arms)[0, 1], -1, 1))


def correlation_interval(r: float, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """Return ``tanh(artanh r ± z / sqrt(n - 3))`` (Fisher 1921); None below four pairs and where r is ±1."""
    if n < FEWEST_FOR_CORRELATION_INTERVAL or abs(r) >= 1:
        return None
    half = float(special.ndtri((1 + level) / 2)) / sqrt(n - 3)
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def p_value(found: Estimate) -> float | None:
    """Return the two-sided p of a mean of 0, from t = mean / error, as that of the interval; None below three values.

    Values that are all equal leave t undefined: p is then 1 if they are 0, and otherwise that of the sign-flip
    test, which needs no spread.
    """
    if found.n < FEWEST or not found.errors:
        return None
    if found.error == 0:
        return 1.0 if found.mean == 0 else least_sign_flip_p(found.n)
    return max(
        float(2 * special.stdtr(df, -abs(found.mean) / error)) for error, df in found.errors if error > 0
    )


def hedges_g(found: Estimate) -> float | None:
    """Return ``mean / sd`` times Hedges' (1981) small-sample factor ``1 - 3 / (4 (n - 1) - 1)``.

    None below three values and where they do not vary.
    """
    if found.n < FEWEST or not found.sd:
        return None
    return found.mean / found.sd * _hedges_factor(found.n)


def hedges_interval(found: Estimate, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of Hedges' g by inversion of the noncentral t distribution (Steiger & Fouladi 1997).

    The bounds are those noncentralities at which the observed ``t = mean sqrt(n) / sd`` is the (1 ± level)/2
    quantile, divided by sqrt(n), times Hedges' factor. None below five values and where they do not vary.
    """
    if found.n < FEWEST_FOR_EFFECT_INTERVAL or not found.sd:
        return None
    t, df = found.mean / found.sd * sqrt(found.n), found.n - 1

    def excess(shift: float, share: float) -> float:
        below = float(stats.nct.cdf(t, df, shift))  # scipy gives nan in the far tails
        return (below if np.isfinite(below) else float(shift < t)) - share

    def bound(share: float) -> float:
        width = 10.0 + abs(t)
        return float(optimize.brentq(excess, t - width, t + width, (share,)))

    scale = _hedges_factor(found.n) / sqrt(found.n)
    return bound((1 + level) / 2) * scale, bound((1 - level) / 2) * scale


def _hedges_factor(n: int) -> float:
    return 1 - 3 / (4 * (n - 1) - 1)


def least_sign_flip_p(n: int) -> float:
    """Return the least two-sided p of a sign-flip or signed-rank test of n values, 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - n))


def posterior(found: Estimate, rope: float) -> tuple[float, float, float] | None:
    """Return P(worse), P(equivalent) and P(better): the mean gain below -rope, within, above rope.

    The posterior is Student's t, centred at the mean, with the scale and the degrees of freedom of the estimate's
    error. Under folds that is the correlated t of Benavoli et al. 2017, whose scale is
    ``sqrt((1/n + rho/(1 - rho)) sd^2)`` with rho = tested / (tested + trained), so that rho/(1 - rho) is the overlap.
    Where an interval must hold two errors, below five repetitions, a tail beyond any point has the larger of their two
    masses: its central intervals are those of `Estimate.interval`.
    None below three values; an error of 0 puts the whole mass on the mean.
    """
    if found.n < FEWEST or not found.errors:
        return None
    worse, better = _above(-found, rope), _above(found, rope)
    return worse, max(0.0, 1 - worse - better), better


def _above(found: Estimate, rope: float) -> float:
    """Return the posterior mass above `rope`."""
    errors = [(error, df) for error, df in found.errors if error > 0]
    if not errors:
        return float(found.mean > rope)
    tail = max(float(special.stdtr(df, -abs(found.mean - rope) / error)) for error, df in errors)
    return tail if found.mean <= rope else 1 - tail
