"""Scores over several data sets, against published worked examples, scipy and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.statistics.datasets import (
    interquartile_interval,
    interquartile_mean,
    profile,
    ranks,
)

DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # ranked 2 and 3 there, so unequal before rounding
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Table 6 of Demsar 2006: the AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets."""


def test_ranks_agree_with_the_worked_example_of_demsar() -> None:
    found = ranks(DEMSAR)
    assert found.means == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=0.001)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.p < 0.05  # F = 3.69 against a critical value of 2.85
    assert stats.f.isf(found.p, 3, 39) > 3.69 - 0.01


def test_ranks_need_ten_data_sets_and_three_methods() -> None:
    with pytest.raises(ValueError, match="9 data sets and 4 methods"):
        ranks(DEMSAR[:9])
    with pytest.raises(ValueError, match="14 data sets and 2 methods"):
        ranks(DEMSAR[:, :2])


def test_methods_of_the_same_order_everywhere_are_told_apart() -> None:
    found = ranks(np.tile([1.0, 2.0, 3.0], (10, 1)))
    assert found.means == (3.0, 2.0, 1.0)
    assert found.p == 0.0


def test_the_interquartile_mean_is_that_of_the_middle_half_of_all_runs() -> None:
    assert interquartile_mean([np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0, 100.0])]) == 3.5


def test_the_bootstrap_resamples_within_each_data_set() -> None:
    near, far = np.array([1.0, 1.0, 1.0]), np.array([9.0, 9.0, 9.0])  # resampled together they would vary
    assert interquartile_interval([near, far]) == (5.0, 5.0)


def test_the_bootstrap_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(size=40)
    theirs = stats.bootstrap(
        (values,),
        lambda drawn, axis: stats.trim_mean(drawn, 0.25, axis=axis),
        method="percentile",
        n_resamples=20000,
        rng=2,
    )
    assert interquartile_interval([values]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)


def test_a_profile_counts_the_runs_above_each_threshold_and_weighs_data_sets_equally() -> None:
    scores = [np.array([1.0, 3.0]), np.array([2.0, 2.0, 2.0, 4.0])]
    assert profile(scores, np.array([0.0, 1.0, 2.0, 3.5, 4.0])) == pytest.approx([1, 0.75, 0.375, 0.125, 0])
