"""Samples and paired comparisons against scipy and pingouin."""

from __future__ import annotations

from math import isclose, sqrt

import numpy as np
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from study.statistics.samples import (
    compare,
    hedges_g,
    least_sign_flip_p,
    p_value,
    posterior,
    sample,
    t_interval,
)

SCORES = st.integers(0, 1000).map(lambda clips: clips / 10)


def arms(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(60, 2, n)
    return shared + rng.normal(0.8, 1, n), shared + rng.normal(0, 1, n)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_paired_t_agrees_with_scipy(n: int) -> None:
    variant, reference = arms(n)
    found = compare(variant, reference)
    expected = stats.ttest_rel(variant, reference)
    assert found is not None
    assert p_value(found.differences) == pytest.approx(expected.pvalue, rel=1e-6)
    for level in (0.95, 0.99, 0.9):
        interval = expected.confidence_interval(level)
        assert t_interval(found.differences, level) == pytest.approx((interval.low, interval.high), rel=1e-6)


def test_interval_and_correlation_agree_with_pingouin() -> None:
    variant, reference = arms(8)
    found = compare(variant, reference)
    expected = pingouin.ttest(variant, reference, paired=True).iloc[0]
    assert found is not None
    assert t_interval(found.differences) == pytest.approx(tuple(expected["CI95"]), abs=0.006)
    assert found.correlation == pytest.approx(pingouin.corr(variant, reference)["r"].iloc[0], rel=1e-6)


def test_interval_of_three_known_values() -> None:
    found = sample([1.0, 2.0, 3.0])
    assert found is not None
    assert t_interval(found) == pytest.approx((2 - 4.302653 / sqrt(3), 2 + 4.302653 / sqrt(3)), abs=1e-5)


def test_hedges_g_of_known_differences() -> None:
    found = compare([1, 2, 3, 4, 5], [0, 0, 0, 0, 0])
    assert found is not None
    assert hedges_g(found.differences) == pytest.approx(3 / sqrt(2.5) * (1 - 3 / 15))


def test_ties_count_half_a_win() -> None:
    found = compare([0.3, 0.5, 0.1 + 0.2], [0.2, 0.6, 0.3])
    assert found is not None
    assert found.wins == 1.5


def test_no_values_give_no_sample() -> None:
    assert sample([]) is None
    assert compare([], []) is None


def test_one_value_gives_a_mean_and_no_interval() -> None:
    found = compare([61.0], [60.0])
    assert found is not None
    assert (found.differences.mean, found.differences.sd, found.correlation) == (1.0, None, None)
    assert t_interval(found.differences) is None
    assert p_value(found.differences) is None
    assert hedges_g(found.differences) is None
    assert posterior(found.differences, 0.5) is None


def test_identical_arms_are_equivalent_with_certainty() -> None:
    found = compare([60.0, 61.0, 62.0], [60.0, 61.0, 62.0])
    assert found is not None
    assert t_interval(found.differences) == (0.0, 0.0)
    assert p_value(found.differences) == 1.0
    assert hedges_g(found.differences) is None
    assert posterior(found.differences, 0.5) == (0.0, 1.0, 0.0)
    assert found.wins == 1.5


def test_rounding_in_equal_differences_is_no_spread() -> None:
    found = compare([0.3, 0.7, 0.9], [0.2, 0.6, 0.8])
    assert found is not None
    assert found.differences.sd == 0
    assert p_value(found.differences) == 0.25


def test_arms_of_different_length_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="2 and 3"):
        compare([1, 2], [1, 2, 3])


def test_overlapping_folds_widen_the_interval_as_nadeau_and_bengio_say() -> None:
    differences = np.array([0.4, 1.3, 0.9, -0.2, 1.1])
    found = compare(differences, np.zeros(5), overlap=20 / 80)
    assert found is not None
    t = differences.mean() / sqrt((1 / 5 + 20 / 80) * differences.var(ddof=1))
    assert p_value(found.differences) == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-6)


def test_posterior_is_the_correlated_t_of_benavoli() -> None:
    differences = np.array([0.4, 1.3, 0.9, -0.2, 1.1])
    rho = 20 / 100
    found = compare(differences, np.zeros(5), overlap=20 / 80)
    assert found is not None
    scale = sqrt((1 / 5 + rho / (1 - rho)) * differences.var(ddof=1))
    expected = stats.t(4, differences.mean(), scale)
    worse, equivalent, better = posterior(found.differences, 0.5) or (None, None, None)
    assert worse == pytest.approx(expected.cdf(-0.5), rel=1e-6)
    assert better == pytest.approx(expected.sf(0.5), rel=1e-6)
    assert equivalent == pytest.approx(expected.cdf(0.5) - expected.cdf(-0.5), rel=1e-6)


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=8))
def test_swapping_the_arms_mirrors_every_figure(pairs: list[tuple[float, float]]) -> None:
    variant, reference = zip(*pairs, strict=True)
    forward, backward = compare(variant, reference), compare(reference, variant)
    assert forward is not None
    assert backward is not None
    assert forward.wins + backward.wins == len(pairs)
    assert p_value(forward.differences) == p_value(backward.differences)
    low_high, high_low = t_interval(forward.differences), t_interval(backward.differences)
    if low_high and high_low:
        assert low_high == pytest.approx((-high_low[1], -high_low[0]), abs=1e-9)
    masses, mirrored = posterior(forward.differences, 0.5), posterior(backward.differences, 0.5)
    if masses and mirrored:
        assert masses == pytest.approx(mirrored[::-1])
        assert isclose(sum(masses), 1)
    for value in (forward.differences.mean, p_value(forward.differences), hedges_g(forward.differences)):
        assert value is None or np.isfinite(value)


def test_five_repetitions_cannot_reach_significance_in_a_rank_test() -> None:
    least = stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0], method="exact").pvalue
    assert least_sign_flip_p(5) == least == 0.0625
    assert least_sign_flip_p(1) == least_sign_flip_p(0) == 1
