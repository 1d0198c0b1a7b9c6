"""Borrowed variances, and what they do to error rates and power: simulated families against the spec's figures."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from study.statistics.families import borrowed
from study.statistics.inference import estimate

ALPHA = 0.05


def differences(rng: np.random.Generator, n: int, effects: np.ndarray, sds: np.ndarray) -> np.ndarray:
    """Return (m, n) differences of m arms from one reference; the noise that they share is that of the reference."""
    shared, own = rng.standard_normal(n), rng.standard_normal((len(effects), n))
    return effects[:, None] + sds[:, None] * (own - shared) / sqrt(2)


def excludes_zero(family: np.ndarray, borrow: bool) -> np.ndarray:
    """Return which of the m arms have a 1 - alpha/m interval that excludes 0."""
    m, n = family.shape
    variances = borrowed(list(family.std(axis=1, ddof=1)), [n] * m) if borrow else [None] * m
    intervals = [
        estimate(values, variance=variance).interval(1 - ALPHA / m)
        for values, variance in zip(family, variances, strict=True)
    ]
    return np.array([low > 0 or high < 0 for low, high in intervals])


def test_the_borrowed_variance_is_the_weighted_mean_of_own_and_family() -> None:
    sds, n = [1.0, 2.0, 3.0], 5
    mean = (1 + 4 + 9) / 3
    expected = [(2 * mean + 4 * s * s) / 6 for s in sds]  # d0 = m - 1 = 2
    found = borrowed(sds, [n] * 3)
    assert [variance.s2 for variance in found] == pytest.approx(expected)
    assert [variance.df for variance in found] == [6, 6, 6]


def test_contrasts_of_other_length_lend_the_variance_of_one_cell() -> None:
    # with equal noise s in every cell, contrasts of length l have the sd l s: borrowing changes none of them
    lengths = [1.0, 2.0, sqrt(2)]
    found = borrowed([1.5 * length for length in lengths], [4] * 3, lengths)
    assert [variance.s2 for variance in found] == pytest.approx([(1.5 * length) ** 2 for length in lengths])


def test_a_comparison_far_noisier_than_the_others_keeps_its_own() -> None:
    found = borrowed([1.0, 1.1, 0.9, 1.0, 6.0], [5] * 5)
    assert found[-1] is None
    assert None not in found[:-1]


@pytest.mark.parametrize("sds", [[1.0, 2.0], [1.0, 2.0, None], [1.0, 2.0, 0.0]])
def test_fewer_than_three_comparisons_with_a_spread_keep_their_own(sds: list[float | None]) -> None:
    assert borrowed(sds, [5] * len(sds)) == [None] * len(sds)


def test_identical_arms_do_not_shrink_the_variance_of_others() -> None:
    without = borrowed([1.0, 2.0, 3.0], [5] * 3)
    assert borrowed([1.0, 0.0, 2.0, 3.0], [5] * 4) == [without[0], None, *without[1:]]


@pytest.mark.parametrize(
    ("n", "effect", "own", "shared"), [(3, 3.0, 0.14, 0.78), (5, 1.5, 0.20, 0.42)], ids=["3 sd", "1.5 sd"]
)
def test_nine_comparisons_find_what_they_would_miss_alone(
    n: int, effect: float, own: float, shared: float
) -> None:
    rng = np.random.default_rng(3)
    effects, sds = np.full(9, effect), np.ones(9)
    families = [differences(rng, n, effects, sds) for _ in range(800)]
    power = [
        np.mean([excludes_zero(family, borrow).mean() for family in families]) for borrow in (False, True)
    ]
    assert power == pytest.approx([own, shared], abs=0.025)
    # without borrowing it is the power of a t test, whose distribution scipy knows
    critical = stats.t.isf(ALPHA / 18, n - 1)
    assert power[0] == pytest.approx(stats.nct.sf(critical, n - 1, effect * sqrt(n)), abs=0.02)


@pytest.mark.parametrize(
    "sds", [[1] * 9, [1, 1, 3], [1, 2, 3, 4, 5], [0.5] * 8 + [3], [1] * 5 + [2] * 4], ids=str
)
@pytest.mark.parametrize("n", [3, 5])
def test_identical_arms_of_unequal_spread_differ_no_more_often_than_alpha(sds: list[float], n: int) -> None:
    studies = 2500
    rng = np.random.default_rng(n)
    spreads = np.array(sds, dtype=float)
    wrong = np.mean(
        [
            excludes_zero(differences(rng, n, np.zeros(len(sds)), spreads), borrow=True).any()
            for _ in range(studies)
        ]
    )
    assert wrong <= 0.054 + 3.3 * sqrt(0.054 * 0.946 / studies)
