"""The standard deviation that a study is planned with; light, as records hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean


def pooled_sd(sds: Sequence[float]) -> float:
    """Return the root of the mean of variances."""
    return sqrt(fmean(sd**2 for sd in sds))


@dataclass(frozen=True)
class Spread:
    """The standard deviation of paired differences over repetitions, before a study has any of its own."""

    sd: float
    """In the primary metric's scaled unit."""
    df: float | None = None
    """Degrees of freedom that it was estimated with; None where it is assumed."""
    examples: float = 0.0
    """Variance of a mean difference that the choice of test examples adds, ``v_c - v_sc``; 0 where not known."""
    origin: str = ""
    """Where it is from, such as the name of an earlier study; empty where the study's file gives it."""

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return ``sd sqrt(df / chi2((1 ± level)/2, df))``, the interval of a normal sample's sd; None if assumed."""
        if self.df is None:
            return None
        from scipy import special

        upper, lower = (float(special.chdtri(self.df, (1 + sign * level) / 2)) for sign in (-1, 1))
        return self.sd * sqrt(self.df / upper), self.sd * sqrt(self.df / lower)
