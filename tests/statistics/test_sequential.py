"""Looks that close a comparison: their rules one by one, and the error rates and power that they add up to."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from study.statistics.boundaries import boundary
from study.statistics.inference import Estimate, Variance, estimate
from study.statistics.sequential import Closed, Reason, critical, look_decision, operation
from study.statistics.verdicts import Verdict

LOOKS = (5, 8, 12)
ALPHA = 0.05


def with_t(mean: float, t: float, n: int) -> Estimate:
    """Return an estimate of n repetitions with the given t statistic."""
    error = abs(mean / t)
    return Estimate(mean, n, error * sqrt(n), error, n - 1.0, error, n - 1.0)


@pytest.mark.parametrize(("look", "limit"), [(5, 3.70), (8, 3.09), (12, 2.60)])
def test_a_comparison_closes_beyond_the_boundary_of_its_look(look: int, limit: float) -> None:
    expected: dict[float, Verdict] = {1.0: "helps", -1.0: "hurts"}
    for mean, verdict in expected.items():
        assert look_decision(with_t(mean, limit + 0.02, look), look, LOOKS, 0.5, ALPHA) == Closed(
            look, Reason.DECIDED, verdict
        )
    below = look_decision(with_t(1.0, limit - 0.02, look), look, LOOKS, 0.5, ALPHA)
    assert below == (None if look < 12 else Closed(12, Reason.LAST_LOOK, "inconclusive"))


@pytest.mark.parametrize(("look", "limit"), [(5, 2.96), (8, 2.55), (12, 2.15)])
def test_equivalence_closes_where_both_bounds_are_beyond_the_one_sided_boundary(
    look: int, limit: float
) -> None:
    error = 1.0 / limit
    estimates = [with_t(1e-9, 1e-9 / (error * scale), look) for scale in (0.99, 1.01)]
    closed = [look_decision(found, look, LOOKS, 1.0, ALPHA) for found in estimates]
    assert closed[0] == Closed(look, Reason.DECIDED, "equivalent")
    assert closed[1] == (None if look < 12 else Closed(12, Reason.LAST_LOOK, "inconclusive"))


def test_a_slight_difference_stays_open_until_the_last_look() -> None:
    slight = with_t(0.8, 5.0, 5)
    assert look_decision(slight, 5, LOOKS, 1.0, ALPHA) is None
    assert look_decision(replace(slight, n=12), 12, LOOKS, 0.9, ALPHA).verdict in {"slight", "equivalent"}


@pytest.mark.parametrize(
    ("look", "t", "closes"), [(5, 0.48, True), (5, 0.52, False), (8, 0.98, True), (8, 1.02, False)]
)
def test_futility_closes_at_half_a_standard_error_at_5_and_one_at_8(
    look: int, t: float, closes: bool
) -> None:
    closed = look_decision(with_t(0.1, t, look), look, LOOKS, 0.0, ALPHA)
    assert closed == (Closed(look, Reason.FUTILE, "inconclusive") if closes else None)


def test_a_comparison_that_may_still_be_equivalent_is_not_futile() -> None:
    # half of the last interval: 2.15 s/sqrt(12), against r - |d|
    sd = 1.0
    half = 2.155 * sd / sqrt(12)
    found = Estimate(0.0, 5, sd, sd / sqrt(5), 4.0, sd / sqrt(5), 4.0)
    assert look_decision(found, 5, LOOKS, half * 1.01, ALPHA) is None
    assert look_decision(found, 5, LOOKS, half * 0.99, ALPHA) == Closed(5, Reason.FUTILE, "inconclusive")


def test_only_more_examples_help_where_their_luck_alone_hides_the_difference() -> None:
    test_error, examples, sources = 0.1, 1.0, 30
    found = Estimate(
        1.5, 5, test_error * sqrt(5), sqrt(test_error**2 + examples), 30.0, test_error, 4.0, 1.0, 0.0, sources
    )
    least = stats.t.isf(boundary(LOOKS, ALPHA).level(2) / 2, sources - 1)  # about 2.4 standard errors
    assert least > 1.5
    assert look_decision(found, 5, LOOKS, 1.0, ALPHA) == Closed(5, Reason.EXAMPLES, "inconclusive")
    assert look_decision(replace(found, mean=least * 1.01), 5, LOOKS, 1.0, ALPHA) is None
    assert look_decision(found, 5, LOOKS, least * 1.01, ALPHA) is None
    for_these_examples = replace(found, error=found.test_error, df=4.0)
    assert look_decision(for_these_examples, 5, LOOKS, 1.0, ALPHA) == Closed(5, Reason.DECIDED, "helps")


def test_a_missing_repetition_is_judged_at_the_level_of_its_look() -> None:
    level = boundary(LOOKS, ALPHA).level(1)
    limit = stats.t.isf(level / 2, 6)  # 7 of the 8 pairs are complete
    assert limit > 3.09
    assert look_decision(with_t(1.0, limit * 0.99, 7), 8, LOOKS, 0.5, ALPHA) is None
    assert look_decision(with_t(1.0, limit * 1.01, 7), 8, LOOKS, 0.5, ALPHA).verdict == "helps"


def test_a_comparison_without_pairs_stays_open_until_the_last_look() -> None:
    assert look_decision(None, 5, LOOKS, 0.5, ALPHA) is None
    assert look_decision(None, 12, LOOKS, 0.5, ALPHA) == Closed(12, Reason.LAST_LOOK, None)


def test_the_reported_interval_is_the_boundary_times_the_standard_error() -> None:
    values = np.array([0.4, 1.2, 0.9, 0.1, 1.6])
    low, high = estimate(values).interval(1 - critical(5, LOOKS, ALPHA).difference)
    half = 3.698 * values.std(ddof=1) / sqrt(5)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-6)


def test_a_borrowed_variance_has_the_boundary_of_its_family() -> None:
    borrowed = Variance(1.0, 8.0)  # m = 9 at 5 repetitions: 4 + 4
    values = np.full(5, 1.0) + np.array([-1, 1, 0, 0, 0])
    for factor, closes in ((0.99, True), (1.01, False)):
        limit = boundary(LOOKS, ALPHA, 9).two_sided[0]
        found = estimate(values, variance=replace(borrowed, s2=factor * 5 / limit**2))
        closed = look_decision(found, 5, LOOKS, 0.5, ALPHA, 9)
        assert (closed is not None) == closes


def test_a_look_that_was_not_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the looks"):
        look_decision(None, 6, LOOKS, 0.5, ALPHA)


@pytest.mark.parametrize(
    ("looks", "effect", "power", "repetitions"),
    [
        ((5,), 0.5, 0.14, 5),
        ((5,), 1.0, 0.40, 5),
        ((10,), 1.0, 0.80, 10),
        (LOOKS, 0.5, 0.28, 9.1),
        (LOOKS, 1.0, 0.81, 9.0),
        (LOOKS, 2.0, 1.00, 5.9),
    ],
)
def test_looks_have_the_power_and_the_repetitions_that_were_simulated_elsewhere(
    looks: tuple[int, ...], effect: float, power: float, repetitions: float
) -> None:
    (found,) = operation([effect], 0.0, looks, ALPHA, studies=2000)
    assert found.helps == pytest.approx(power, abs=0.035)
    assert found.repetitions == pytest.approx(repetitions, abs=0.2)


def test_without_an_effect_looks_err_no_more_often_than_alpha() -> None:
    (found,) = operation([0.0], 0.0, LOOKS, ALPHA, studies=4000)
    assert found.helps + found.hurts == pytest.approx(0.049, abs=3.3 * sqrt(0.05 * 0.95 / 4000))
    assert found.repetitions == pytest.approx(7.9, abs=0.2)


def test_the_clause_of_futility_leaves_equivalence_within_reach() -> None:
    # effect 0 and sd = r: .80 without futility, .71 with its clause, .40 without the clause
    assert operation([0.0], 1.0, LOOKS, ALPHA, studies=2000)[0].equivalent == pytest.approx(0.71, abs=0.035)


@pytest.mark.parametrize("v_c", [0.2, 1.0, 3.0])
def test_the_luck_of_examples_raises_no_false_alarms(v_c: float) -> None:
    (found,) = operation([0.0], 0.0, LOOKS, ALPHA, v_c=v_c, studies=3000)
    assert found.helps + found.hurts <= ALPHA + 3.3 * sqrt(0.05 * 0.95 / 3000)


def test_the_power_of_a_family_is_that_of_its_borrowed_variance() -> None:
    assert operation([1.5], 0.0, LOOKS, ALPHA, comparisons=9)[0].helps == pytest.approx(0.94, abs=0.02)
