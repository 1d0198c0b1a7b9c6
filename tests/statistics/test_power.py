"""Power of the verdict against the noncentral t distribution, published figures and simulated studies."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from study.statistics.families import borrowed
from study.statistics.inference import estimate
from study.statistics.power import power, power_of_looks, power_table
from study.statistics.sequential import look_decision
from study.statistics.spread import Spread
from study.statistics.verdicts import verdict


@pytest.mark.parametrize(("n", "published"), [(5, 0.40), (10, 0.80)])
def test_power_at_one_standard_deviation(n: int, published: float) -> None:
    assert power(1.0, n, 1.0, 0.0, 0.05) == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 4])
@pytest.mark.parametrize("effect", [0.3, 0.7, 1.2])
def test_without_a_least_difference_it_is_that_of_a_t_test(effect: float, alpha: float) -> None:
    for n in (3, 5, 12):
        one_sided = TTestPower().power(effect, n, alpha / 2, alternative="larger")
        assert power(3 * effect, n, 3.0, 0.0, alpha) == pytest.approx(one_sided, abs=5e-4)


@pytest.mark.parametrize(("rope", "published"), [(1.0, 0.49), (1.5, 0.06)])
def test_the_least_difference_lowers_power_at_an_effect_of_one_sd(rope: float, published: float) -> None:
    assert power(1.0, 10, 1.0, rope, 0.05) == pytest.approx(published, abs=0.011)


@pytest.mark.parametrize(
    ("n", "rope", "overlap"), [(3, 1.0, 0.0), (5, 0.5, 0.0), (8, 0.8, 0.0), (5, 0.5, 0.25)]
)
def test_it_is_the_share_of_simulated_studies_that_say_helps(n: int, rope: float, overlap: float) -> None:
    studies, rng = 4000, np.random.default_rng(n)
    shared = rng.normal(0, sqrt(overlap), (studies, 1))  # so that the mean has variance 1/n + overlap
    values = 1.4 * (shared + rng.normal(0, 1, (studies, n))) + 2 * rope
    found = [verdict(estimate(row, overlap=overlap), rope, 0.05) == "helps" for row in values]
    assert power(2 * rope, n, 1.4, rope, 0.05, overlap=overlap) == pytest.approx(np.mean(found), abs=0.025)


def test_the_choice_of_test_examples_lowers_it_as_in_simulated_studies() -> None:
    studies, n, m, rng = 1500, 5, 80, np.random.default_rng(6)
    helped = 0
    for _ in range(studies):
        scores = 1.5 + rng.normal(0, 1.0, (n, 1)) + rng.normal(0, 0.5 * sqrt(m), m)
        left_out = (scores.sum(axis=1, keepdims=True) - scores) / (m - 1)
        helped += verdict(estimate(scores.mean(axis=1), left_out), 0.75, 0.05) == "helps"
    known = power(1.5, n, 1.0, 0.75, 0.05, examples=0.25)
    assert known == pytest.approx(helped / studies, abs=0.04)
    assert known < power(1.5, n, 1.0, 0.75, 0.05) - 0.05


def test_no_power_below_three_repetitions_and_none_without_spread() -> None:
    assert power(100.0, 2, 0.1, 0.5, 0.05) == 0
    assert power(1.0, 3, 0.0, 0.5, 0.05) == 1
    assert power(0.4, 3, 0.0, 0.5, 0.05) == 0


def test_the_table_grows_with_repetitions_and_effect() -> None:
    table = power_table(Spread(1.2), 1.0, 0.05)
    assert list(table) == [(3,), (5,), (8,), (12,), (20,)]
    rows = np.array(list(table.values()))
    assert np.all(np.diff(rows[:, 1:], axis=0) > 0)
    assert np.all(np.diff(rows, axis=1) > 0)
    assert rows[1, 2] == pytest.approx(power(2.0, 5, 1.2, 1.0, 0.05))
    assert np.all(rows[:, 0] <= 0.5), (
        "an effect of exactly the least difference is called helps half of the time"
    )


def test_the_interval_of_a_standard_deviation_covers_it() -> None:
    values = np.random.default_rng(4).normal(0, 1.3, (4000, 5))
    intervals = [Spread(float(sd), 4).interval() or (0, 0) for sd in values.std(axis=1, ddof=1)]
    assert np.mean([low <= 1.3 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.011)
    low, high = Spread(2.0, 9).interval() or (0, 0)
    assert low == pytest.approx(2 * sqrt(9 / stats.chi2.ppf(0.975, 9)))
    assert high == pytest.approx(2 * sqrt(9 / stats.chi2.ppf(0.025, 9)))
    assert Spread(2.0).interval() is None


def families(effect: float, comparisons: int, n: int, studies: int, seed: int) -> np.ndarray:
    """Return paired differences, (studies, comparisons, n), of sd 1.4, from one reference; the first one is true."""
    rng = np.random.default_rng(seed)
    scores = 1.4 / sqrt(2) * rng.standard_normal((studies, comparisons + 1, n))
    differences = scores[:, 1:] - scores[:, :1]
    differences[:, 0] += effect
    return differences


@pytest.mark.parametrize(("comparisons", "n"), [(1, 5), (2, 5), (3, 3), (3, 8), (9, 3), (9, 5)])
def test_it_is_that_of_simulated_families_with_their_borrowed_variances(comparisons: int, n: int) -> None:
    rope, effect = 0.5, 2.4
    helped = []
    for family in families(effect, comparisons, n, 6000, seed=comparisons + 100 * n):
        own = borrowed([float(arm.std(ddof=1)) for arm in family], [n] * comparisons)
        helped.append(verdict(estimate(family[0], variance=own[0]), rope, 0.05, comparisons) == "helps")
    assert power(effect, n, 1.4, rope, 0.05, comparisons) == pytest.approx(np.mean(helped), abs=0.02)


@pytest.mark.parametrize("comparisons", [1, 3, 9])
def test_with_looks_it_is_that_of_simulated_families_whose_arms_are_dropped_when_decided(
    comparisons: int,
) -> None:
    rope, effect, looks = 0.5, 1.6, (5, 8, 12)
    helped = []
    for family in families(effect, comparisons, 12, 4000, seed=comparisons):
        ends: dict[int, int] = {}  # the repetitions of the arms that a look has closed
        found = None
        for look in looks:
            sizes = [ends.get(i, look) for i in range(comparisons)]
            sds = [float(arm[:size].std(ddof=1)) for arm, size in zip(family, sizes, strict=True)]
            variances = borrowed(sds, sizes)
            for i in (i for i in range(comparisons) if i not in ends):
                judged = estimate(family[i, :look], variance=variances[i])
                closed = look_decision(judged, look, looks, rope, 0.05, comparisons)
                if closed is not None:
                    ends[i] = look
                    found = closed.verdict if i == 0 else found
        helped.append(found == "helps")
    (known,) = power_of_looks((effect,), looks, 1.4, rope, 0.05, comparisons)
    assert known == pytest.approx(np.mean(helped), abs=0.02)
