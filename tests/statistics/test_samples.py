"""Samples and paired comparisons against scipy and pingouin."""

from __future__ import annotations

from dataclasses import replace
from math import isclose, sqrt

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from study.statistics.inference import estimate
from study.statistics.samples import (
    correlation,
    correlation_interval,
    hedges_g,
    hedges_interval,
    least_sign_flip_p,
    p_value,
    posterior,
    wins,
)

SCORES = st.integers(0, 1000).map(lambda clips: clips / 10)


def arms(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(60, 2, n)
    return shared + rng.normal(0.8, 1, n), shared + rng.normal(0, 1, n)


@pytest.mark.parametrize("n", [3, 5, 20])
def test_paired_t_agrees_with_scipy(n: int) -> None:
    variant, reference = arms(n)
    found = estimate(variant - reference)
    expected = stats.ttest_rel(variant, reference)
    assert p_value(found) == pytest.approx(expected.pvalue, rel=1e-6)
    for level in (0.95, 0.99, 0.9):
        interval = expected.confidence_interval(level)
        assert found.interval(level) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_correlation_and_its_interval_agree_with_pingouin() -> None:
    variant, reference = arms(8)
    expected = pingouin.corr(variant, reference).iloc[0]
    r = correlation(variant, reference)
    assert r == pytest.approx(expected["r"], rel=1e-6)
    assert r is not None
    bounds = stats.pearsonr(variant, reference).confidence_interval(0.95)
    assert correlation_interval(r, 8) == pytest.approx((bounds.low, bounds.high))
    assert correlation([1, 2, 3], [5, 5, 5]) is None
    assert correlation([1, 2], [5, 6]) is None
    assert correlation_interval(0.5, 3) is None
    assert correlation_interval(1.0, 9) is None


def test_hedges_g_of_known_differences() -> None:
    assert hedges_g(estimate([1, 2, 3, 4, 5])) == pytest.approx(3 / sqrt(2.5) * (1 - 3 / 15))


def test_interval_of_hedges_g_holds_the_true_effect_in_95_percent() -> None:
    rng, true, covered = np.random.default_rng(3), 0.8, 0
    factor = 1 - 3 / 15
    for _ in range(400):
        low, high = hedges_interval(estimate(rng.normal(true, 1, 5))) or (0, 0)
        covered += low <= true * factor <= high
    assert covered / 400 == pytest.approx(0.95, abs=0.035)


def test_interval_of_hedges_g_is_that_of_the_noncentral_t() -> None:
    found = estimate([0.4, 1.3, 0.9, -0.2, 1.1, 0.8])
    low, high = hedges_interval(found) or (0, 0)
    t, factor = stats.ttest_1samp([0.4, 1.3, 0.9, -0.2, 1.1, 0.8], 0).statistic, 1 - 3 / 19
    assert stats.nct.sf(t, 5, low / factor * sqrt(6)) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 5, high / factor * sqrt(6)) == pytest.approx(0.025, abs=1e-6)
    assert hedges_interval(estimate([1.0, 2.0, 4.0, 3.0])) is None, "below five repetitions"
    assert hedges_interval(estimate([2.0] * 6)) is None


def test_ties_count_half_a_win() -> None:
    assert wins(np.array([0.3, 0.5, 0.1 + 0.2]) - np.array([0.2, 0.6, 0.3])) == 1.5


def test_one_value_gives_a_mean_and_nothing_else() -> None:
    found = estimate([1.0])
    assert (p_value(found), hedges_g(found), posterior(found, 0.5)) == (None, None, None)


def test_identical_arms_are_equivalent_with_certainty() -> None:
    found = estimate([0.0, 0.0, 0.0])
    assert (p_value(found), hedges_g(found), posterior(found, 0.5)) == (1.0, None, (0.0, 1.0, 0.0))


def test_rounding_in_equal_differences_is_no_spread() -> None:
    found = estimate(np.array([0.3, 0.7, 0.9]) - np.array([0.2, 0.6, 0.8]))
    assert (found.sd, p_value(found)) == (0, 0.25)


def test_posterior_is_the_correlated_t_of_benavoli() -> None:
    differences = np.array([0.4, 1.3, 0.9, -0.2, 1.1])
    rho = 20 / 100
    scale = sqrt((1 / 5 + rho / (1 - rho)) * differences.var(ddof=1))
    expected = stats.t(4, differences.mean(), scale)
    found = estimate(differences, overlap=20 / 80)
    worse, equivalent, better = posterior(found, 0.5) or (None, None, None)
    assert worse == pytest.approx(expected.cdf(-0.5), rel=1e-6)
    assert better == pytest.approx(expected.sf(0.5), rel=1e-6)
    assert equivalent == pytest.approx(expected.cdf(0.5) - expected.cdf(-0.5), rel=1e-6)
    assert p_value(found) == pytest.approx(2 * expected.cdf(0), rel=1e-6)


@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("luck", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.98])
def test_the_posterior_puts_into_an_interval_the_probability_that_it_states(
    n: int, luck: float, level: float
) -> None:
    values = np.array([0.4, 1.3, 0.9, -0.2, 1.1])[:n]
    offsets = luck * np.array([-1.0, 0.4, 0.1, -0.7, 1.2]) * sqrt(1 / 5)
    found = estimate(values - values.mean(), values[:, None] - values.mean() + offsets)
    low, high = found.interval(level) or (None, None)
    assert low == pytest.approx(-high)
    outside = (1 - level) / 2
    assert posterior(found, high) == pytest.approx((outside, level, outside), rel=1e-7)
    shifted = replace(found, mean=high)
    assert posterior(shifted, 0.0) == pytest.approx((outside, 0.0, 1 - outside), rel=1e-7)


def test_below_five_repetitions_either_error_can_be_the_one_that_the_posterior_holds() -> None:
    small = replace(estimate([0.0, 1.0, 2.0]), mean=0.0, error=0.6, df=40.0, test_error=0.5, test_df=2.0)
    near, far = (posterior(small, at) or (None, None, None) for at in (0.3, 3.0))
    assert near[2] == pytest.approx(stats.t(40, 0, 0.6).sf(0.3))
    assert far[2] == pytest.approx(stats.t(2, 0, 0.5).sf(3.0))
    many = replace(small, n=5)
    assert posterior(many, 3.0)[2] == pytest.approx(stats.t(40, 0, 0.6).sf(3.0))


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=8))
def test_swapping_the_arms_mirrors_every_figure(pairs: list[tuple[float, float]]) -> None:
    variant, reference = np.array(pairs).T
    forward, backward = estimate(variant - reference), estimate(reference - variant)
    assert wins(variant - reference) + wins(reference - variant) == len(pairs)
    assert p_value(forward) == p_value(backward)
    assert (-forward).interval() == pytest.approx(backward.interval(), abs=1e-9)
    masses, mirrored = posterior(forward, 0.5), posterior(backward, 0.5)
    if masses and mirrored:
        assert masses == pytest.approx(mirrored[::-1])
        assert isclose(sum(masses), 1)
    for value in (forward.mean, p_value(forward), hedges_g(forward)):
        assert value is None or np.isfinite(value)


def test_five_repetitions_cannot_reach_significance_in_a_rank_test() -> None:
    least = stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0], method="exact").pvalue
    assert least_sign_flip_p(5) == least == 0.0625
    assert least_sign_flip_p(1) == least_sign_flip_p(0) == 1


def test_two_values_have_no_interval_no_p_and_no_posterior() -> None:
    found = estimate([1.0, 1.4])
    assert found.interval() is None
    assert p_value(found) is None
    assert posterior(found, 0.5) is None
    assert estimate([1.0, 1.4, 1.3]).interval() is not None
