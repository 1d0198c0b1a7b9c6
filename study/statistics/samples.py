"""Means, intervals and paired comparisons of small samples: Student's t, corrected for folds."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

DECIMALS = 9
"""Scores are rounded to this many decimals before they are compared, so that rounding errors are no spread."""


@dataclass(frozen=True)
class Sample:
    """Mean and spread of a sample, in the unit of its values."""

    mean: float
    sd: float | None
    """Standard deviation with n - 1 in the denominator; None for one value, exactly 0 where all are equal."""
    n: int
    overlap: float = 0.0
    """Test examples / training examples where the values are folds; 0 where they are independent."""

    @property
    def error(self) -> float | None:
        """Standard error of the mean, ``sqrt((1/n + overlap) sd^2)``.

        The overlap term accounts for the training examples that folds share (Nadeau & Bengio 2003).
        """
        return None if self.sd is None else self.sd * sqrt(1 / self.n + self.overlap)


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of a variant with a reference."""

    differences: Sample
    """Variant minus reference."""
    wins: float
    """Pairs in which the variant is higher, ties counted half; divided by n it estimates P(better)."""
    correlation: float | None
    """Pearson correlation of the arms; None below three pairs or where an arm does not vary."""


def sample(values: ArrayLike, overlap: float = 0.0) -> Sample | None:
    """Return mean and spread of values of shape (n,); None without values."""
    rounded = np.round(np.asarray(values, dtype=float), DECIMALS)
    n = rounded.size
    if n == 0:
        return None
    if np.ptp(rounded) == 0:
        return Sample(float(rounded[0]), None if n == 1 else 0.0, n, overlap)
    return Sample(float(rounded.mean()), float(rounded.std(ddof=1)), n, overlap)


def t_interval(values: Sample, level: float = 0.95) -> tuple[float, float] | None:
    """Return the interval ``mean ± t((1 + level)/2, n - 1) error``; None for one value.

    Where all values are equal it shrinks to the point that they share.
    """
    if values.error is None:
        return None
    half = float(special.stdtrit(values.n - 1, (1 + level) / 2)) * values.error
    return values.mean - half, values.mean + half


def compare(variant: ArrayLike, reference: ArrayLike, overlap: float = 0.0) -> Comparison | None:
    """Compare two arms of shape (n,) whose i-th values share repetition or fold; None without pairs.

    Args:
        variant: Scores; for folds, the mean over the repetitions of each fold.
        reference: Scores in the same order.
        overlap: See `Sample.overlap`.

    Raises:
        ValueError: The arms differ in length.
    """
    a, b = np.asarray(variant, dtype=float), np.asarray(reference, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"Arms of {a.size} and {b.size} values cannot be paired.")
    differences = sample(a - b, overlap)
    if differences is None:
        return None
    signs = np.sign(np.round(a - b, DECIMALS))
    return Comparison(differences, float(np.sum((signs + 1) / 2)), _correlation(a, b))


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    arms = np.round(np.stack([a, b]), DECIMALS)
    if a.size < 3 or np.any(np.ptp(arms, axis=1) == 0):
        return None
    return float(np.corrcoef(arms)[0, 1])


def p_value(differences: Sample) -> float | None:
    """Return the two-sided p of a mean difference of 0, from t = mean / error; None for one difference.

    Differences that are all equal leave t undefined: p is then 1 if they are 0, and otherwise that of the
    sign-flip test, which needs no spread.
    """
    if differences.error is None:
        return None
    if differences.error == 0:
        return 1.0 if differences.mean == 0 else least_sign_flip_p(differences.n)
    return float(2 * special.stdtr(differences.n - 1, -abs(differences.mean) / differences.error))


def hedges_g(differences: Sample) -> float | None:
    """Return ``mean / sd`` times Hedges' (1981) small-sample factor ``1 - 3 / (4 (n - 1) - 1)``.

    None below three differences (the factor is 0 at two) and where they do not vary.
    """
    if differences.n < 3 or not differences.sd:
        return None
    return differences.mean / differences.sd * (1 - 3 / (4 * (differences.n - 1) - 1))


def least_sign_flip_p(n: int) -> float:
    """Return the least two-sided p of a sign-flip or signed-rank test of n differences, 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - n))


def posterior(differences: Sample, rope: float) -> tuple[float, float, float] | None:
    """Return P(worse), P(equivalent) and P(better): the mean difference below -rope, within, above rope.

    The posterior is Student's t with n - 1 degrees of freedom, centred at the mean, of scale
    ``sqrt((1/n + rho/(1 - rho)) sd^2)`` with rho = tested / (tested + trained), so that rho/(1 - rho) is the
    overlap (Benavoli et al. 2017). None for one difference; differences that are all equal put the whole mass
    on their value.
    """
    if differences.error is None:
        return None
    if differences.error == 0:
        worse, better = float(differences.mean < -rope), float(differences.mean > rope)
    else:
        df = differences.n - 1
        worse = float(special.stdtr(df, (-rope - differences.mean) / differences.error))
        better = float(special.stdtr(df, (differences.mean - rope) / differences.error))
    return worse, max(0.0, 1 - worse - better), better
