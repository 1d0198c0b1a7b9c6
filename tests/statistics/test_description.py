"""Figures that describe, against NumPy, SciPy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from study.statistics.description import (
    binomial_half_width,
    false_verdict_chance,
    fold_overlap,
    mean,
    mean_and_sd,
    mean_curve,
    median,
    pareto_front,
    percentages,
)
from study.statistics.inference import jackknife_variance, joined_replicates
from study.statistics.spread import pooled_sd

VALUES = (61.2, 63.4, 59.8, 60.5)


def test_mean_and_standard_deviation_are_those_of_numpy() -> None:
    assert mean_and_sd(VALUES) == pytest.approx((np.mean(VALUES), np.std(VALUES, ddof=1)))
    assert mean_and_sd([61.2]) == (61.2, None)


def test_mean_and_median_are_those_of_numpy() -> None:
    assert (mean(VALUES), median(VALUES)) == pytest.approx((np.mean(VALUES), np.median(VALUES)))


def test_parts_of_nothing_have_no_percentage() -> None:
    assert percentages([3, 1]) == (75.0, 25.0)
    assert percentages([3, 1], 10) == (30.0, 10.0)
    assert percentages([0, 0]) == (None, None)


def test_the_overlap_of_five_equal_folds_is_a_quarter() -> None:
    assert fold_overlap([20] * 5, [80] * 5) == 0.25
    assert fold_overlap([], []) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_variant_on_the_front_is_dominated_by_none(seed: int) -> None:
    points = np.random.default_rng(seed).integers(0, 6, (12, 2))
    costs, gains = ({str(i): float(value) for i, value in enumerate(column)} for column in points.T)
    front = pareto_front(costs, gains)
    better = {
        name
        for name in costs
        if not any(
            (costs[o] < costs[name] and gains[o] >= gains[name])
            or (costs[o] <= costs[name] and gains[o] > gains[name])
            for o in costs
        )
    }
    corners = {(costs[name], gains[name]) for name in better}
    assert [(costs[name], gains[name]) for name in front] == sorted(corners)


def test_a_mean_curve_has_the_positions_that_all_curves_have() -> None:
    assert mean_curve([{1: 1.0, 2: 2.0, 3: 3.0}, {1: 3.0, 3: 5.0}]) == {1: 2.0, 3: 4.0}
    assert mean_curve([]) == {}


@pytest.mark.parametrize(("right", "n"), [(30, 70), (3998, 4000), (0, 10)])
def test_the_error_of_a_share_is_walds(right: int, n: int) -> None:
    low, high = stats.norm.interval(0.95, right / n, np.sqrt(right / n * (1 - right / n) / n) or 1e-300)
    assert 2 * binomial_half_width(right / n, n) == pytest.approx(high - low, abs=1e-6)
    if 0 < right < 0.9 * n:
        bounds = proportion_confint(right, n, method="normal")
        assert 2 * binomial_half_width(right / n, n) == pytest.approx(bounds[1] - bounds[0], rel=1e-6)


def test_the_chance_of_a_false_verdict_is_that_of_independent_ones() -> None:
    assert false_verdict_chance([0.05] * 7) == pytest.approx(1 - stats.binom.pmf(0, 7, 0.05))
    assert false_verdict_chance([]) == 0


def test_the_pooled_standard_deviation_is_that_of_equal_groups() -> None:
    groups = np.random.default_rng(1).normal(0, [[1.0], [2.0], [3.0]], (3, 6))
    pooled = np.sqrt(np.mean(groups.var(axis=1, ddof=1)))
    assert pooled_sd([float(sd) for sd in groups.std(axis=1, ddof=1)]) == pytest.approx(pooled)


def test_the_jackknife_variance_of_joined_samples_is_the_sum_of_theirs() -> None:
    rng = np.random.default_rng(2)
    samples = [rng.normal(0, 1, (4, m)) for m in (12, 30)]
    joined = joined_replicates(samples)
    assert joined.shape == (4, 42)
    for row in range(4):
        parts = sum(jackknife_variance(sample[row]) for sample in samples)
        assert jackknife_variance(joined[row]) == pytest.approx(parts)
