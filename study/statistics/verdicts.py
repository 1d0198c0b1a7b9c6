"""Verdicts and judged claims on a contrast, with a controlled error rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from study.statistics.inference import Estimate
from study.statistics.samples import least_sign_flip_p

Verdict = Literal["helps", "hurts", "equivalent", "slight", "inconclusive"]
ClaimVerdict = Literal["supported", "refuted", "better-by-less", "undecided", "not judged"]


@dataclass(frozen=True)
class Critical:
    """The nominal error probabilities of one decision; those of a fixed number of repetitions are both alpha/m."""

    difference: float
    """Two-sided, of the interval that must exclude 0."""
    equivalence: float
    """One-sided, of the interval that must lie within ±rope."""

    @classmethod
    def of_family(cls, alpha: float, comparisons: int) -> Critical:
        """Return the level of each of m comparisons, alpha/m (Bonferroni)."""
        return cls(alpha / comparisons, alpha / comparisons)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's (1979) adjusted p values in the given order.

    Sorted ascending, ``p_(i) = max over j <= i of min(1, (m - j + 1) p_(j))`` with m the number of values. A
    comparison without a p value (None) still counts in m, as the family was fixed before its run failed.
    """
    m = len(p_values)
    adjusted: list[float | None] = [None] * m
    largest = 0.0
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    for rank, (p, position) in enumerate(tested):
        largest = max(largest, min(1.0, (m - rank) * p))
        adjusted[position] = largest
    return adjusted


def verdict(
    gain: Estimate, rope: float, alpha: float, comparisons: int = 1, level: Critical | None = None
) -> Verdict | None:
    """Return the verdict on a contrast, with Bonferroni's correction for the m comparisons of the family.

    Tested in this order on the deciding interval [L, U] at 1 - alpha/m: *helps*, L > 0 and the mean is at least
    `rope`; *hurts*, its mirror; *equivalent*, the 1 - 2 alpha/m interval lies within ±rope (two one-sided tests,
    Schuirmann 1987); *slight*, L > 0 or U < 0; else *inconclusive*. None below three repetitions.

    Values that are all equal show no spread: they decide only where a sign-flip test of n equal values can reach
    alpha/m.

    Args:
        gain: The contrast, oriented so that more is better.
        rope: The least difference of interest r, in the unit of the contrast.
        alpha: Probability of any false *helps* or *hurts* in the family.
        comparisons: The family's size m.
        level: Replaces alpha/m, as at a look of a sequential method.
    """
    bounds = _bounds(gain, alpha, comparisons, level)
    if bounds is None:
        return None
    low, high, is_equivalent = *bounds[0], _within(bounds[1], rope)
    if not _shows_spread(gain, alpha, comparisons, level):
        return "inconclusive"
    if low > 0 and gain.mean >= rope:
        return "helps"
    if high < 0 and gain.mean <= -rope:
        return "hurts"
    if is_equivalent:
        return "equivalent"
    return "slight" if low > 0 or high < 0 else "inconclusive"


def claim_verdict(
    gain: Estimate, rope: float, alpha: float, comparisons: int = 1, level: Critical | None = None
) -> ClaimVerdict:
    """Return the verdict on a claim that a contrast is positive; arguments as those of `verdict`.

    *Supported*: *helps*. *Better-by-less*: L > 0, and U < rope or *equivalent*: better, by less than rope. *Refuted*:
    *hurts* or *equivalent*, or U < rope; none of them where L > 0. Else *undecided*, as below three repetitions.
    """
    found = verdict(gain, rope, alpha, comparisons, level)
    bounds = _bounds(gain, alpha, comparisons, level)
    if found is None or bounds is None or not _shows_spread(gain, alpha, comparisons, level):
        return "undecided"
    low, high = bounds[0]
    if found == "helps":
        return "supported"
    is_less = high < rope or found == "equivalent"
    if low > 0:
        return "better-by-less" if is_less else "undecided"
    return "refuted" if is_less or found == "hurts" else "undecided"


def reaches(
    gain: Estimate, rope: float, alpha: float, comparisons: int = 1, level: Critical | None = None
) -> bool:
    """Whether the deciding interval shows a size of at least `rope`: L >= rope > 0, or U <= -rope < 0."""
    bounds = _bounds(gain, alpha, comparisons, level)
    if bounds is None or rope <= 0:
        return False
    return bounds[0][0] >= rope or bounds[0][1] <= -rope


def _bounds(
    gain: Estimate, alpha: float, comparisons: int, level: Critical | None
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the deciding interval and the one that shows equivalence; None below three repetitions."""
    critical = level or Critical.of_family(alpha, comparisons)
    interval, narrower = gain.interval(1 - critical.difference), gain.interval(1 - 2 * critical.equivalence)
    if interval is None or narrower is None:
        return None
    return interval, narrower


def _within(interval: tuple[float, float], rope: float) -> bool:
    return -rope <= interval[0] and interval[1] <= rope


def _shows_spread(gain: Estimate, alpha: float, comparisons: int, level: Critical | None) -> bool:
    """Whether the values differ, or are so many that equal ones decide too."""
    nominal = alpha / comparisons if level is None else level.difference
    return gain.sd != 0 or least_sign_flip_p(gain.n) <= nominal
