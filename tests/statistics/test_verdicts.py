"""Verdicts by their definition and Holm's correction against pingouin and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pingouin import multicomp
from statsmodels.stats.weightstats import DescrStatsW
from support.estimates import of

from study.statistics.inference import Estimate, estimate
from study.statistics.samples import least_sign_flip_p
from study.statistics.verdicts import Critical, claim_verdict, holm, reaches, verdict

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)
ESTIMATES = st.builds(of, st.floats(-5, 5), st.floats(0, 5) | st.none(), st.integers(2, 30))
MIRROR = {"helps": "hurts", "hurts": "helps"}


def test_each_verdict_from_its_definition() -> None:
    def found(mean: float, sd: float) -> str | None:
        return verdict(of(mean, sd, 5), rope=0.5, alpha=0.05)

    # with n = 5 the 95 % interval is ±1.242 sd and the 90 % interval ±0.953 sd
    assert found(2.0, 1.0) == "helps"
    assert found(-2.0, 1.0) == "hurts"
    assert found(1.0, 1.0) == "inconclusive"
    assert found(0.1, 0.4) == "equivalent"
    assert found(0.4, 0.3) == "slight"
    assert found(-0.4, 0.3) == "slight"
    assert found(0.3, 0.2) == "equivalent"
    assert found(0.5, 0.3) == "helps"


@pytest.mark.parametrize(
    ("mean", "sd", "claim"),
    [
        (2.0, 1.0, "supported"),  # [0.76, 3.24]
        (-2.0, 1.0, "refuted"),
        (0.3, 0.15, "better-by-less"),  # [0.11, 0.49]
        (0.2, 0.1, "better-by-less"),  # equivalent too, yet above 0: never refuted
        (0.4, 0.3, "undecided"),  # [0.03, 0.77]: better, perhaps by more than 0.5
        (0.1, 0.2, "refuted"),  # [-0.15, 0.35]: less than 0.5
        (0.0, 0.39, "refuted"),  # [-0.48, 0.48]
        (-0.4, 0.3, "refuted"),  # worse, so not better by 0.5
        (0.1, 0.5, "undecided"),  # [-0.52, 0.72]
    ],
)
def test_each_claim_from_its_definition(mean: float, sd: float, claim: str) -> None:
    assert claim_verdict(of(mean, sd, 5), rope=0.5, alpha=0.05) == claim


@given(ESTIMATES, st.floats(0, 3), st.integers(1, 20))
def test_a_claim_is_never_refuted_by_an_interval_above_0(
    found: Estimate, rope: float, comparisons: int
) -> None:
    interval = found.interval(1 - 0.05 / comparisons)
    claim = claim_verdict(found, rope, 0.05, comparisons)
    if interval and interval[0] > 0:
        assert claim != "refuted"
    if claim == "supported":
        assert verdict(found, rope, 0.05, comparisons) == "helps"


def test_at_least_rope_is_shown_by_the_whole_interval() -> None:
    assert reaches(of(2.0, 1.0, 5), 0.5, 0.05)  # from 0.76
    assert not reaches(of(1.5, 1.0, 5), 0.5, 0.05)  # from 0.26
    assert reaches(of(-2.0, 1.0, 5), 0.5, 0.05)
    assert not reaches(of(2.0, 1.0, 5), 0.0, 0.05)


def test_the_level_of_a_look_replaces_alpha() -> None:
    found = of(2.0, 1.0, 5)  # t = 4.47, p = 0.011
    assert verdict(found, 0.5, 0.05, 1, Critical(0.02, 0.02)) == "helps"
    assert verdict(found, 0.5, 0.05, 1, Critical(0.005, 0.02)) == "inconclusive"
    close = of(0.1, 0.4, 5)  # within 0.5 up to a 1 - 2 * 0.044 interval
    assert verdict(close, 0.5, 0.05, 1, Critical(0.01, 0.05)) == "equivalent"
    assert verdict(close, 0.5, 0.05, 1, Critical(0.01, 0.03)) == "inconclusive"


def test_verdict_is_stricter_in_a_family() -> None:
    clear_alone = of(2.0, 1.0, 5)
    assert verdict(clear_alone, 0.5, 0.05, comparisons=1) == "helps"
    assert verdict(clear_alone, 0.5, 0.05, comparisons=10) == "inconclusive"


def test_fewer_than_three_repetitions_get_no_verdict() -> None:
    for found in (of(30.0, None, 1), of(30.0, 0.001, 2), of(0.0, 0.0, 2)):
        assert verdict(found, 0.5, 0.05) is None
        assert claim_verdict(found, 0.5, 0.05) == "undecided"


def test_identical_arms_are_equivalent_where_enough_repetitions_agree() -> None:
    assert verdict(of(0.0, 0.0, 5), 0.5, 0.05) == "inconclusive", "2 / 2**5 is above 0.05"
    assert verdict(of(0.0, 0.0, 6), 0.5, 0.05) == "equivalent"
    assert verdict(of(0.0, 0.0, 6), 0.0, 0.05) == "equivalent", "also where the region is a point"


def test_few_equal_differences_are_no_proof() -> None:
    assert verdict(of(3.0, 0.0, 5), 0.5, 0.05) == "inconclusive"
    assert verdict(of(3.0, 0.0, 6), 0.5, 0.05) == "helps"
    assert least_sign_flip_p(6) < 0.05 < least_sign_flip_p(5)


def test_equivalence_agrees_with_two_one_sided_tests() -> None:
    rng = np.random.default_rng(3)
    agreed = set()
    for _ in range(200):
        values = rng.normal(0.1, 0.5, 6)
        found = estimate(values)
        p, _, _ = DescrStatsW(values).ttost_mean(-0.5, 0.5)
        is_equivalent = verdict(found, 0.5, 0.05) == "equivalent"
        # "helps" and "hurts" go first, and need a mean outside the margin: impossible here
        assert is_equivalent == (p < 0.05)
        agreed.add(is_equivalent)
    assert agreed == {True, False}


@given(ESTIMATES, st.floats(0, 3), st.integers(1, 20))
def test_swapping_the_arms_swaps_helps_and_hurts(found: Estimate, rope: float, comparisons: int) -> None:
    forward, backward = verdict(found, rope, 0.05, comparisons), verdict(-found, rope, 0.05, comparisons)
    assert backward == MIRROR.get(forward or "", forward)


@given(ESTIMATES, st.floats(0, 3), st.integers(1, 20))
def test_helps_is_no_verdict_on_an_interval_with_zero(found: Estimate, rope: float, comparisons: int) -> None:
    interval = found.interval(1 - 0.05 / comparisons)
    result = verdict(found, rope, 0.05, comparisons)
    if interval is None or interval[0] <= 0 <= interval[1]:
        assert result in {"equivalent", "inconclusive", None}
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
