"""Contrasts of designs and Shapley values: closed forms, statsmodels, and the definition by orders."""

from __future__ import annotations

from itertools import permutations, product
from math import factorial

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from study.statistics.attribution import shapley
from study.statistics.contrasts import Cell, Weights, crossed, difference, omega_squared, signed, trend

TWO_BY_TWO: list[Cell] = list(product((0, 1), repeat=2))


def value(weights: Weights, means: Weights) -> float:
    return sum(weight * means[cell] for cell, weight in weights.items())


def test_a_main_effect_is_the_difference_of_marginal_means() -> None:
    means: Weights = {(0, 0): 10.0, (0, 1): 13.0, (1, 0): 11.0, (1, 1): 20.0}
    weights = crossed(TWO_BY_TWO, {0: difference(1, 0)})
    assert value(weights, means) == pytest.approx((11 + 20) / 2 - (10 + 13) / 2)


def test_an_interaction_is_the_difference_of_differences() -> None:
    means: Weights = {(0, 0): 10.0, (0, 1): 13.0, (1, 0): 11.0, (1, 1): 20.0}
    weights = crossed(TWO_BY_TWO, {0: difference(1, 0), 1: difference(1, 0)})
    assert value(weights, means) == pytest.approx((20 - 13) - (11 - 10))


def test_a_trend_is_the_fitted_change_over_the_range() -> None:
    x, y = [0.2, 0.5, 0.8, 1.6], [3.0, 4.5, 4.0, 9.0]
    slope = np.polyfit(x, y, 1)[0]
    weights = trend(x)
    assert sum(weights[i] * y[i] for i in range(4)) == pytest.approx(slope * (1.6 - 0.2))


def test_the_trend_of_a_difference_is_the_difference_of_slopes() -> None:
    x = [0.0, 1.0, 2.0]
    cells = list(product((0, 1), range(3)))
    rng = np.random.default_rng(1)
    means: Weights = {cell: float(rng.normal()) for cell in cells}
    slopes = [np.polyfit(x, [means[a, i] for i in range(3)], 1)[0] for a in (0, 1)]
    weights = crossed(cells, {0: difference(1, 0), 1: trend(x)})
    assert value(weights, means) == pytest.approx(2.0 * (slopes[1] - slopes[0]))


def test_a_dropped_cell_leaves_contexts_that_have_both_sides() -> None:
    cells = [cell for cell in product((0, 1), repeat=3) if cell != (1, 1, 0)]
    weights = crossed(cells, {0: difference(1, 0)})
    assert {cell[1:] for cell in weights} == {(0, 0), (0, 1), (1, 1)}  # not (1, 0), which has one side alone
    assert sum(weights.values()) == pytest.approx(0)
    assert sum(weight for cell, weight in weights.items() if cell[0]) == pytest.approx(1)


def test_without_a_context_there_is_no_contrast() -> None:
    assert crossed([(0, 0), (1, 1)], {0: difference(1, 0)}) == {}


@pytest.mark.parametrize("factors", [[0], [1, 2], [0, 1, 2]])
def test_signs_of_a_full_design_give_the_same_contrast(factors: list[int]) -> None:
    cells = list(product((0, 1), repeat=3))
    expected = crossed(cells, {i: difference(1, 0) for i in factors})
    assert signed(cells, factors, dict.fromkeys(range(3), 0)) == pytest.approx(expected)


def test_a_half_fraction_confounds_a_main_effect_with_its_alias() -> None:
    cells = [cell for cell in product((0, 1), repeat=3) if sum(cell) % 2 == 1]  # C = AB
    means: Weights = {cell: 2.0 * cell[0] + 5.0 * (cell[1] == cell[2]) for cell in cells}
    # the product of the signs of B and C is that of A: its interaction of size 5 adds to the main effect 2
    assert value(signed(cells, [0], dict.fromkeys(range(3), 0)), means) == pytest.approx(7)


def test_omega_squared_is_that_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal([[0.0], [1.0], [0.5], [3.0]], 1.0, (4, 6))
    frame = pd.DataFrame(
        {"a": np.repeat([0, 0, 1, 1], 6), "b": np.repeat([0, 1, 0, 1], 6), "y": scores.ravel()}
    )
    table = anova_lm(smf.ols("y ~ C(a) * C(b)", frame).fit())
    mse = table.loc["Residual", "mean_sq"]
    for name, factors in (("C(a)", [0]), ("C(b)", [1]), ("C(a):C(b)", [0, 1])):
        weights = crossed(TWO_BY_TWO, {i: difference(1, 0) for i in factors})
        expected = (table.loc[name, "sum_sq"] - mse) / (table["sum_sq"].sum() + mse)
        found = omega_squared(scores, [weights[cell] for cell in TWO_BY_TWO])
        assert found == pytest.approx(max(0.0, expected))


def test_omega_squared_of_noise_is_zero_and_of_equal_scores_undefined() -> None:
    assert omega_squared([[1.0, 2.0], [2.0, 1.0]], [1, -1]) == 0
    assert omega_squared([[1.0, 1.0], [1.0, 1.0]], [1, -1]) is None
    assert omega_squared([[1.0], [2.0]], [1, -1]) is None


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6])
def test_shapley_values_are_the_mean_gain_over_all_orders(parts: int) -> None:
    rng = np.random.default_rng(parts)
    v = {cell: float(rng.normal()) for cell in product((0, 1), repeat=parts)}
    gains = np.zeros(parts)
    for order in permutations(range(parts)):
        held = [0] * parts
        for part in order:
            before = v[tuple(held)]
            held[part] = 1
            gains[part] += v[tuple(held)] - before
    found = [value(weights, v) for weights in shapley(parts)]
    assert found == pytest.approx(list(gains / factorial(parts)))
    assert sum(found) == pytest.approx(v[(1,) * parts] - v[(0,) * parts])


@pytest.mark.parametrize("parts", [0, 7])
def test_more_parts_than_64_cells_are_refused(parts: int) -> None:
    with pytest.raises(ValueError, match="parts"):
        shapley(parts)
