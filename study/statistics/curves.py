"""Curves over trials and epochs: the expected best of a random search, and whether a training still improves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, comb
from statistics import fmean


def expected_best(gains: Sequence[float]) -> list[float]:
    """Return the expected best of 1, 2, …, N trials drawn from N independent ones, without replacement.

    The mean over all subsets of n trials, with the gains in ascending order v_(1) <= … <= v_(N):
    ``sum over i = n..N of C(i-1, n-1) / C(N, n) v_(i)`` (Dodge et al. 2019, without replacement).

    Args:
        gains: The trials' scores, higher is better, shape (N,).
    """
    ordered, total = sorted(gains), len(gains)
    return [
        sum(comb(i - 1, n - 1) * ordered[i - 1] for i in range(n, total + 1)) / comb(total, n)
        for n in range(1, total + 1)
    ]


def halving_share(checked: Sequence[int], reduction: int) -> float:
    """Return the mean cost of a trial under successive halving, as a share of a whole training.

    ``(r_1 + (r_2 - r_1)/eta + (r_3 - r_2)/eta^2 + …)/E``, as 1 of eta continues at each check.

    Args:
        checked: The epochs r_1 < r_2 < … at which trials are checked, and E, the last epoch.
        reduction: eta.
    """
    steps = [epoch - before for before, epoch in pairwise((0, *checked))]
    return sum(step * float(reduction) ** -passed for passed, step in enumerate(steps)) / checked[-1]


def late_slope(epochs: Sequence[int], gains: Sequence[float]) -> tuple[float, int] | None:
    """Return the least-squares slope of a learning curve over its last third, per epoch, and the epochs it spans.

    Args:
        epochs: The numbers of the epochs, ascending, shape (n,).
        gains: The validation metric after each of them, higher is better, shape (n,).

    Returns:
        None for a curve of fewer than three epochs. The last third has at least two points.
    """
    if len(gains) < 3:
        return None
    points = max(2, ceil(len(gains) / 3))
    times, values = epochs[-points:], gains[-points:]
    middle, mean = fmean(times), fmean(values)
    spread = sum((time - middle) ** 2 for time in times)
    moment = sum((time - middle) * (value - mean) for time, value in zip(times, values, strict=True))
    return moment / spread, times[-1] - times[0]
