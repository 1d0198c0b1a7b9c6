"""Power and numbers of repetitions against published tables and statsmodels."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from study.statistics.power import (
    MOST_REPETITIONS,
    equivalence_power,
    power,
    repetitions_for_rank_test,
    repetitions_to_detect,
    repetitions_to_equate,
    smallest_effect,
)


@pytest.mark.parametrize(("n", "published"), [(3, 3.26), (5, 1.68), (8, 1.16), (10, 1.00), (20, 0.66)])
def test_smallest_effect_that_few_repetitions_show(n: int, published: float) -> None:
    assert smallest_effect(n) == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize(("effect", "published"), [(0.5, 34), (0.8, 15), (1, 10), (1.5, 6), (2, 5)])
def test_repetitions_for_80_percent_power(effect: float, published: int) -> None:
    assert repetitions_to_detect(effect, 1.0, 0.05) == published


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 4])
@pytest.mark.parametrize("effect", [0.3, 0.7, 1.2])
def test_power_and_repetitions_agree_with_statsmodels(effect: float, alpha: float) -> None:
    oracle = TTestPower()
    for n in (3, 5, 12):
        assert power(effect, n, alpha) == pytest.approx(oracle.power(effect, n, alpha), abs=1e-6)
    needed = oracle.solve_power(effect, alpha=alpha, power=0.8)
    assert repetitions_to_detect(3 * effect, 3.0, alpha) == ceil(needed)


def test_no_number_of_repetitions_is_named_where_none_helps() -> None:
    assert repetitions_to_detect(0.0, 1.0, 0.05) is None
    assert repetitions_to_detect(0.01, 1.0, 0.05) is None
    assert repetitions_to_equate(0.6, 1.0, 0.5, 0.05) is None
    assert smallest_effect(1) is None
    assert smallest_effect(0) is None


def test_equal_differences_need_as_many_repetitions_as_a_sign_flip_test() -> None:
    assert repetitions_to_detect(2.0, 0.0, 0.05) == 6
    assert repetitions_to_detect(2.0, 0.0, 0.05 / 2) == 7
    assert [repetitions_for_rank_test(0.05 / m) for m in (1, 2, 10)] == [6, 7, 9]


def test_large_effects_do_not_break_the_tail() -> None:
    assert repetitions_to_detect(100.0, 1e-6, 0.05) == 2
    assert power(1e6, 50, 0.05) == 1


def test_equivalence_needs_the_repetitions_of_the_textbook_formula() -> None:
    # normal approximation at a true difference of 0: n = (z(.95) + z(.9))^2 (sd / margin)^2
    assert repetitions_to_equate(0.0, 1.0, 0.25, 0.05) == pytest.approx((1.6449 + 1.2816) ** 2 * 16, abs=2.5)


@settings(max_examples=50)
@given(st.floats(0.02, 4), st.sampled_from([0.05, 0.01]))
def test_the_repetitions_named_are_the_least_that_suffice(effect: float, alpha: float) -> None:
    n = repetitions_to_detect(effect, 1.0, alpha)
    if n is None:
        assert power(effect, MOST_REPETITIONS, alpha) < 0.8
    else:
        assert power(effect, n, alpha) >= 0.8
        assert n == 2 or power(effect, n - 1, alpha) < 0.8


@settings(max_examples=50)
@given(st.floats(-3, 3), st.floats(0.1, 3), st.integers(2, 40))
def test_power_is_a_chance_and_symmetric(effect: float, margin: float, n: int) -> None:
    assert power(effect, n, 0.05) == pytest.approx(power(-effect, n, 0.05))
    assert 0 <= equivalence_power(effect, margin, n, 0.05) <= 1
    assert equivalence_power(effect, margin, n, 0.05) == pytest.approx(
        equivalence_power(-effect, margin, n, 0.05), abs=1e-9
    )
