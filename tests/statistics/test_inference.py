"""The deciding interval: closed forms, scipy, and its coverage when repetitions and test examples are new draws."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from study.statistics.inference import Variance, estimate, jackknife_variance, satterthwaite

STUDIES = 1000


def test_without_replicates_it_is_the_t_interval() -> None:
    values = [1.2, 0.4, 2.2, 1.9, 0.7]
    found = estimate(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.interval(0.95) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.df, found.v_c, found.sources) == (5, 4, None, None)
    assert found.on_test_set() == found


def test_folds_widen_as_nadeau_and_bengio_and_take_no_term_for_examples() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    found = estimate(values, replicates=np.arange(12.0).reshape(4, 3), overlap=0.25)
    assert found.error == pytest.approx(sqrt((1 / 4 + 0.25) * np.var(values, ddof=1)))
    assert found.df == 3


def test_jackknife_variance_of_a_mean_is_the_variance_of_the_mean() -> None:
    x = np.array([3.0, 5.0, 4.0, 9.0, 1.0])
    left_out = [np.delete(x, i).mean() for i in range(5)]
    assert jackknife_variance(left_out) == pytest.approx(stats.sem(x) ** 2)
    assert jackknife_variance([0.1 + 0.2, 0.3, 0.3]) == 0


def test_jackknife_standard_error_agrees_with_the_definition_for_a_ratio() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, 1, 30), rng.normal(10, 1, 30)
    left_out = [np.delete(a, i).sum() / np.delete(b, i).sum() for i in range(30)]
    mean = sum(left_out) / 30
    assert jackknife_variance(left_out) == pytest.approx(29 / 30 * sum((x - mean) ** 2 for x in left_out))
    linear = np.std((a - b * a.mean() / b.mean()) / b.mean(), ddof=1) / sqrt(30)  # the delta method
    assert sqrt(jackknife_variance(left_out)) == pytest.approx(linear, rel=0.02)


def test_examples_that_treat_all_repetitions_alike_add_their_whole_variance() -> None:
    effects = np.array([2.0, -1.0, 0.5, 3.0, 1.0, 0.0])
    left_out = (effects.sum() - effects) / 5
    shifts = np.array([0.3, -0.2, 0.5])
    found = estimate(effects.mean() + shifts, shifts[:, None] + left_out)
    v_c, a = np.var(effects, ddof=1) / 6, np.var(shifts, ddof=1) / 3
    assert found.v_c == pytest.approx(v_c)
    assert found.v_sc == pytest.approx(0, abs=1e-12)
    assert found.error == pytest.approx(sqrt(a + v_c))
    assert found.df == pytest.approx((a + v_c) ** 2 / (a**2 / 2 + v_c**2 / 5))
    assert found.test_error == pytest.approx(sqrt(a))
    assert found.on_test_set().interval() == estimate(effects.mean() + shifts).interval()


def test_noise_of_single_repetitions_is_not_counted_twice() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (40, 500))
    left_out = (noise.sum(axis=1, keepdims=True) - noise) / 499
    found = estimate(noise.mean(axis=1), left_out)
    assert found.v_c is not None
    assert found.v_sc is not None
    assert found.v_sc == pytest.approx(1 / (40 * 500), rel=0.02)  # sigma^2 / (n m)
    assert found.v_c == pytest.approx(found.v_sc, rel=0.2)


def test_the_error_is_never_below_that_of_the_repetitions_alone() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        values = rng.normal(0, 1, 4)
        found = estimate(values, rng.normal(0, 0.1, (4, 10)))
        assert (found.error or 0) >= (found.test_error or 0) == pytest.approx(stats.sem(values))
        assert (found.df or 0) >= 3


def test_a_borrowed_variance_replaces_the_own_one_and_its_degrees_of_freedom() -> None:
    found = estimate([1.0, 2.0, 4.0], variance=Variance(0.5, 6.0))
    half = stats.t.ppf(0.975, 6) * sqrt(0.5 / 3)
    assert found.interval(0.95) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert found.sd == pytest.approx(np.std([1, 2, 4], ddof=1))


def test_satterthwaite_of_equal_variances_of_equal_samples_is_welch() -> None:
    a, b = [1.0, 2.0, 3.5, 2.5], [10.0, 14.0, 19.0]
    parts = (float(np.var(a, ddof=1)) / 4, 3.0), (float(np.var(b, ddof=1)) / 3, 2.0)
    assert satterthwaite(*parts) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).df)


def test_one_value_has_no_interval_and_equal_ones_a_point() -> None:
    assert estimate([1.5]).interval() is None
    assert estimate([1.5], [[1.0, 2.0]]).v_c == pytest.approx(0.25)
    found = estimate([0.1 + 0.2, 0.3, 0.3])
    assert (found.sd, found.interval()) == (0.0, (found.mean, found.mean))


def test_one_source_gives_no_variance_and_wrong_shapes_are_refused() -> None:
    assert estimate([1.0, 2.0], [[1.0], [2.0]]).sources is None
    with pytest.raises(ValueError, match="Replicates"):
        estimate([1.0, 2.0], [[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="No values"):
        estimate([])


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(
    ("of_sources", "of_both"),
    [(0.0, 1.0), (0.5, 1.0), (1.0, 0.5), (1.0, 1.0), (3.0, 0.5), (3.0, 3.0)],
    ids=str,
)
def test_95_percent_intervals_cover_new_repetitions_and_new_examples(
    n: int, of_sources: float, of_both: float
) -> None:
    """The sds are those of a mean over the test set, in units of that of the repetitions."""
    rng, m = np.random.default_rng(n), 60
    covered = 0
    for _ in range(STUDIES):
        source, repetition = rng.normal(0, of_sources, m), rng.normal(0, 1, (n, 1))
        scores = repetition + sqrt(m) * (source + rng.normal(0, of_both, (n, m)))
        left_out = (scores.sum(axis=1, keepdims=True) - scores) / (m - 1)
        found = estimate(scores.mean(axis=1), left_out)
        low, high = found.interval(0.95) or (0, 0)
        covered += low <= 0 <= high
    share, error = covered / (STUDIES), sqrt(0.05 * 0.95 / (STUDIES))
    assert 0.945 - 3 * error < share < 0.961 + 3 * error
