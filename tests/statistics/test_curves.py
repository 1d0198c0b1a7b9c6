"""Curves over trials and epochs, compared with enumeration and with scipy."""

from __future__ import annotations

import random
from itertools import combinations
from statistics import fmean

import pytest
from scipy import stats

from study.statistics.curves import expected_best, halving_share, late_slope


@pytest.mark.parametrize("total", [1, 2, 5, 8])
def test_the_expected_best_of_n_is_the_mean_over_all_subsets(total: int) -> None:
    draw = random.Random(total)
    gains = [round(draw.gauss(0, 1), 1) for _ in range(total)]
    enumerated = [fmean(max(subset) for subset in combinations(gains, n)) for n in range(1, total + 1)]
    assert expected_best(gains) == pytest.approx(enumerated)


@pytest.mark.parametrize(("length", "points"), [(3, 2), (5, 2), (6, 2), (7, 3), (30, 10), (31, 11)])
def test_the_slope_is_that_of_a_regression_over_the_last_third(length: int, points: int) -> None:
    draw = random.Random(length)
    epochs = [2 * number for number in range(1, length + 1)]
    gains = [draw.gauss(0, 1) for _ in range(length)]
    late = late_slope(epochs, gains)
    assert late is not None
    assert late[0] == pytest.approx(stats.linregress(epochs[-points:], gains[-points:]).slope)
    assert late[1] == 2 * (points - 1)


def test_two_epochs_have_no_last_third() -> None:
    assert late_slope([1, 2], [0.0, 9.0]) is None


def test_halving_costs_what_the_trials_of_a_full_bracket_train() -> None:
    trained = [1] * 18 + [3] * 6 + [9] * 3
    assert halving_share([1, 3, 9], 3) == pytest.approx(sum(trained) / (9 * len(trained)))
    assert halving_share([12], 3) == 1
