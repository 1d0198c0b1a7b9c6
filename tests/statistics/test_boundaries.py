"""Boundaries of sequential comparisons: published figures, closed forms, and simulations from single repetitions."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from study.statistics.boundaries import boundary

DEFAULT = (5, 8, 12)


@pytest.mark.parametrize(
    ("looks", "alpha", "expected"),
    [
        (DEFAULT, 0.05, [3.70, 3.09, 2.60]),
        (DEFAULT, 0.05 / 3, [5.11, 3.98, 3.28]),
        (DEFAULT, 0.05 / 9, [6.90, 4.95, 3.96]),
        ((5, 10), 0.05, [3.50, 2.56]),
        ((3, 5, 8, 12), 0.05, [8.86, 4.60, 3.18, 2.63]),
    ],
)
def test_boundaries_of_one_comparison_are_those_of_an_independent_simulation(
    looks: tuple[int, ...], alpha: float, expected: list[float]
) -> None:
    assert boundary(looks, alpha).two_sided == pytest.approx(expected, rel=0.01)


def test_the_boundary_of_equivalence_is_one_sided() -> None:
    assert boundary(DEFAULT, 0.05).one_sided == pytest.approx([2.96, 2.55, 2.15], abs=0.01)


@pytest.mark.parametrize(("comparisons", "expected"), [(3, [3.82, 3.51, 3.06]), (9, [3.83, 3.77, 3.46])])
def test_boundaries_of_a_family_are_those_of_an_independent_simulation(
    comparisons: int, expected: list[float]
) -> None:
    assert boundary(DEFAULT, 0.05, comparisons).two_sided == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_first_look_of_one_comparison_is_a_t_test(alpha: float) -> None:
    limits = boundary(DEFAULT, alpha)
    spent = alpha * 5 / 12
    assert limits.two_sided[0] == pytest.approx(stats.t.isf(spent / 2, 4), rel=0.01)
    assert limits.one_sided[0] == pytest.approx(stats.t.isf(spent, 4), rel=0.01)
    assert limits.level(0) == pytest.approx(spent, rel=0.02)
    assert limits.one_sided_level(0) == pytest.approx(spent, rel=0.02)


def test_two_comparisons_share_alpha() -> None:
    assert boundary(DEFAULT, 0.05, 2).two_sided == pytest.approx(boundary(DEFAULT, 0.025).two_sided, rel=0.01)


def crossings(looks: tuple[int, ...], comparisons: int, families: int, correlation: float) -> list[float]:
    """Return the share of null families, of plain random numbers, that have crossed the boundary by each look."""
    limits = boundary(looks, 0.05, comparisons)
    rng = np.random.default_rng(99)
    shape = (families, comparisons, looks[-1])
    shared = rng.standard_normal((families, 1, looks[-1]))
    values = sqrt(1 - correlation) * rng.standard_normal(shape) + sqrt(correlation) * shared
    crossed, shares = np.zeros(families, dtype=bool), []
    d0 = min(4, comparisons - 1) if comparisons >= 3 else 0
    for n, critical in zip(looks, limits.two_sided, strict=True):
        s2 = values[:, :, :n].var(axis=2, ddof=1)
        s2 = (d0 * s2.mean(axis=1, keepdims=True) + (n - 1) * s2) / (d0 + n - 1)
        crossed |= (np.abs(values[:, :, :n].mean(axis=2)) > critical * np.sqrt(s2 / n)).any(axis=1)
        shares.append(float(crossed.mean()))
    return shares


@pytest.mark.parametrize(
    ("looks", "comparisons"), [(DEFAULT, 1), ((5, 10), 1), (DEFAULT, 3), (DEFAULT, 9), ((4, 9), 4)]
)
def test_alpha_is_spent_in_proportion_to_the_repetitions(looks: tuple[int, ...], comparisons: int) -> None:
    families = 40_000
    shares = crossings(looks, comparisons, families, correlation=0.5)
    expected = [0.05 * n / looks[-1] for n in looks]
    margin = 4 * sqrt(0.05 * 0.95 / families)
    assert shares == pytest.approx(expected, abs=margin)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("comparisons", [3, 9])
def test_a_family_of_other_correlation_errs_no_more_often_than_alpha(
    comparisons: int, correlation: float
) -> None:
    families = 20_000
    shares = crossings(DEFAULT, comparisons, families, correlation)
    assert shares[-1] <= 0.05 + 4 * sqrt(0.05 * 0.95 / families)


def test_the_same_question_has_the_same_boundary() -> None:
    boundary.cache_clear()
    first = boundary((4, 9), 0.05)  # not in the table: simulated
    boundary.cache_clear()
    assert boundary((4, 9), 0.05) == first


@pytest.mark.parametrize("looks", [(), (1, 5), (5, 5), (8, 5)])
def test_looks_that_do_not_ascend_from_two_have_no_boundary(looks: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        boundary(looks, 0.05)
