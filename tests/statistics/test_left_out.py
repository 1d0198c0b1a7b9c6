"""Statistics with each source left out, against NumPy's deletion of rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from study.statistics.inference import jackknife_variance
from study.statistics.replicates import dealt_groups, means_without, values_without

RNG = np.random.default_rng(3)


def test_every_group_is_left_out_once() -> None:
    values, groups = RNG.normal(size=40), RNG.permutation(np.arange(40) % 8)
    expected = [np.delete(values, np.flatnonzero(groups == group)).mean() for group in range(8)]
    assert means_without(values, groups) == pytest.approx(expected)
    medians = [np.median(np.delete(values, np.flatnonzero(groups == group))) for group in range(8)]
    assert values_without(lambda kept: float(np.median(values[kept])), groups) == pytest.approx(medians)


def test_leaving_out_single_examples_gives_the_error_of_their_mean() -> None:
    values = RNG.normal(size=50)
    error2 = jackknife_variance(means_without(values, np.arange(50)))
    assert error2 == pytest.approx(stats.sem(values) ** 2)


def test_many_sources_are_dealt_into_groups_of_equal_size_that_keep_them_whole() -> None:
    sources = RNG.integers(0, 1000, 5000)
    sources[:1000] = np.arange(1000)
    groups = dealt_groups(sources, 200, seed=1)
    assert {len(set(groups[sources == source])) for source in range(1000)} == {1}
    of_source = groups[:1000]
    assert np.bincount(of_source).tolist() == [5] * 200
    assert np.array_equal(groups, dealt_groups(sources, 200, seed=1))
    assert not np.array_equal(groups, dealt_groups(sources, 200, seed=2))


def test_few_sources_are_groups_themselves() -> None:
    sources = RNG.permutation(np.arange(60) % 20)
    assert np.array_equal(dealt_groups(sources, 20, seed=1), sources)
