"""Verdicts on paired differences, with a controlled error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from study.statistics.samples import Sample, least_sign_flip_p, t_interval

Verdict = Literal["helps", "hurts", "equivalent", "small", "inconclusive"]


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


def verdict(differences: Sample, rope: float, alpha: float, comparisons: int = 1) -> Verdict:
    """Return the verdict on the differences, with Bonferroni's correction for the comparisons of the family.

    Tested in this order: *helps*, the 1 - alpha/m interval lies above 0 and the mean is at least `rope`;
    *hurts*, its mirror; *equivalent*, the 1 - 2 alpha/m interval lies within ±rope (two one-sided tests,
    Schuirmann 1987); *small*, the 1 - alpha/m interval excludes 0; else *inconclusive*.

    Differences that are all equal have an interval of no width, which would decide
    at any n. They decide only where a sign-flip test of n equal differences can reach alpha/m.

    Args:
        differences: Variant minus reference.
        rope: Half-width r of the region of practical equivalence, in the unit of the differences.
        alpha: Probability of any false *helps* or *hurts* in the family.
        comparisons: The family's size m.
    """
    interval = t_interval(differences, 1 - alpha / comparisons)
    narrower = t_interval(differences, 1 - 2 * alpha / comparisons)
    if interval is None or narrower is None:
        return "inconclusive"
    if differences.sd == 0 and least_sign_flip_p(differences.n) > alpha / comparisons:
        return "inconclusive"
    above, below = interval[0] > 0, interval[1] < 0
    if above and differences.mean >= rope:
        return "helps"
    if below and differences.mean <= -rope:
        return "hurts"
    if -rope <= narrower[0] and narrower[1] <= rope:
        return "equivalent"
    return "small" if above or below else "inconclusive"
