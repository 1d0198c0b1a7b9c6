"""Verdicts by their definition and Holm's correction against pingouin and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingouin import multicomp
from statsmodels.stats.weightstats import DescrStatsW

from study.statistics.samples import Sample, least_sign_flip_p, sample, t_interval
from study.statistics.verdicts import holm, verdict

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)
SAMPLES = st.builds(Sample, st.floats(-5, 5), st.floats(0, 5) | st.none(), st.integers(2, 30))
MIRROR = {"helps": "hurts", "hurts": "helps"}


def test_each_verdict_from_its_definition() -> None:
    def of(mean: float, sd: float, n: int = 5) -> str:
        return verdict(Sample(mean, sd, n), rope=0.5, alpha=0.05)

    # with n = 5 the 95 % interval is ±1.242 sd and the 90 % interval ±0.953 sd
    assert of(2.0, 1.0) == "helps"
    assert of(-2.0, 1.0) == "hurts"
    assert of(1.0, 1.0) == "inconclusive"
    assert of(0.1, 0.4) == "equivalent"
    assert of(0.4, 0.3) == "small"
    assert of(-0.4, 0.3) == "small"
    assert of(0.3, 0.2) == "equivalent"
    assert of(0.5, 0.3) == "helps"


def test_verdict_is_stricter_in_a_family() -> None:
    clear_alone = Sample(2.0, 1.0, 5)
    assert verdict(clear_alone, 0.5, 0.05, comparisons=1) == "helps"
    assert verdict(clear_alone, 0.5, 0.05, comparisons=10) == "inconclusive"


def test_one_repetition_decides_nothing() -> None:
    assert verdict(Sample(30.0, None, 1), 0.5, 0.05) == "inconclusive"


def test_identical_arms_are_equivalent_where_enough_repetitions_agree() -> None:
    assert verdict(Sample(0.0, 0.0, 5), 0.5, 0.05) == "inconclusive", "2 / 2**5 is above 0.05"
    assert verdict(Sample(0.0, 0.0, 6), 0.5, 0.05) == "equivalent"
    assert verdict(Sample(0.0, 0.0, 6), 0.0, 0.05) == "equivalent", "also where the region is a point"


def test_two_equal_differences_are_no_proof() -> None:
    assert verdict(Sample(3.0, 0.0, 2), 0.5, 0.05) == "inconclusive"
    assert verdict(Sample(3.0, 0.0, 5), 0.5, 0.05) == "inconclusive"
    assert verdict(Sample(3.0, 0.0, 6), 0.5, 0.05) == "helps"
    assert least_sign_flip_p(6) < 0.05 < least_sign_flip_p(5)


def test_equivalence_agrees_with_two_one_sided_tests() -> None:
    rng = np.random.default_rng(3)
    agreed = set()
    for _ in range(200):
        values = rng.normal(0.1, 0.5, 6)
        found = sample(values)
        assert found is not None
        p, _, _ = DescrStatsW(values).ttost_mean(-0.5, 0.5)
        is_equivalent = verdict(found, 0.5, 0.05) == "equivalent"
        # "helps" and "hurts" go first, and need a mean outside the margin: impossible here
        assert is_equivalent == (p < 0.05)
        agreed.add(is_equivalent)
    assert agreed == {True, False}


@given(SAMPLES, st.floats(0, 3), st.integers(1, 20))
def test_swapping_the_arms_swaps_helps_and_hurts(found: Sample, rope: float, comparisons: int) -> None:
    mirrored = Sample(-found.mean, found.sd, found.n)
    forward, backward = verdict(found, rope, 0.05, comparisons), verdict(mirrored, rope, 0.05, comparisons)
    assert backward == MIRROR.get(forward, forward)


@given(SAMPLES, st.floats(0, 3), st.integers(1, 20))
def test_helps_is_no_verdict_on_an_interval_with_zero(found: Sample, rope: float, comparisons: int) -> None:
    interval = t_interval(found, 1 - 0.05 / comparisons)
    result = verdict(found, rope, 0.05, comparisons)
    if interval is None or interval[0] <= 0 <= interval[1]:
        assert result in {"equivalent", "inconclusive"}
    if result == "helps":
        assert found.mean >= rope


@given(P_VALUES)
def test_holm_agrees_with_pingouin(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multicomp(p_values, method="holm")[1])


@given(P_VALUES, st.randoms())
def test_holm_keeps_order_and_never_lowers_p(p_values: list[float], random: object) -> None:
    adjusted = holm(p_values)
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert [new for _, new in by_p] == sorted(new for new in adjusted if new is not None)
    assert all(new is not None and old <= new <= 1 for old, new in by_p)


@given(P_VALUES, st.integers(0, 4))
def test_failed_comparisons_still_count_in_the_family(p_values: list[float], failed: int) -> None:
    expected = multicomp([*p_values, *[1.0] * failed], method="holm")[1][: len(p_values)]
    adjusted = holm([*p_values, *[None] * failed])
    assert adjusted[: len(p_values)] == pytest.approx(expected)
    assert adjusted[len(p_values) :] == [None] * failed
