"""Statistics with each source of test examples left out, from which a jackknife takes their variance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def means_without(values: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean of the values with each group left out, (m,).

    Args:
        values: (n,) one for each example.
        groups: (n,) the group of each example, from 0 to m - 1; at least two.
    """
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    return np.asarray((sums.sum() - sums) / (counts.sum() - counts))


def values_without(
    compute: Callable[[NDArray[np.bool_]], float], groups: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return a statistic with each group left out, (m,).

    Args:
        compute: The statistic of the examples for which a mask, (n,), is true.
        groups: (n,) the group of each example, from 0 to m - 1.
    """
    return np.array([compute(groups != group) for group in range(groups.max() + 1)])


def dealt_groups(sources: NDArray[np.intp], most: int, seed: int) -> NDArray[np.intp]:
    """Return the group of each example, (n,): its source, or above `most` sources one of `most` random groups of them.

    Leaving out a group of sources at a time is the delete-a-group jackknife (Kott 2001).

    Args:
        sources: (n,) the source of each example, from 0.
        most: The most groups.
        seed: Equal seeds deal equal numbers of sources into the same groups.
    """
    number = int(sources.max()) + 1
    if number <= most:
        return sources
    dealt = np.random.default_rng(seed).permutation(number) % most
    return np.asarray(dealt[sources])
