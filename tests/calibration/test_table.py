"""The shipped calibration table: it keeps its promise, and the code still gives its numbers."""

from __future__ import annotations

from math import sqrt

import pytest
from scipy import stats

from study.calibration.cells import Cell, cells
from study.calibration.model import Design, World, simulate
from study.calibration.studies import Count, conclude, count
from study.calibration.table import FIRST, stored

CELLS = {cell.name: cell for cell in cells()}
TABLE = stored()
REPEATED = [name for number, name in enumerate(CELLS) if number % 5 == 0]
"""The cells that every test run simulates again."""


def row(name: str) -> Count:
    return next(row for row in TABLE.cells if row.cell == name)


def test_table_has_every_design_that_a_study_may_ask_for() -> None:
    assert [row.cell for row in TABLE.cells] == list(CELLS)
    assert all(row.studies >= 2000 for row in TABLE.cells)


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.is_bounded])
def test_verdicts_are_false_no_more_often_than_promised(name: str) -> None:
    found, alpha = row(name), CELLS[name].design.alpha
    assert found.false / found.studies <= alpha + 3.3 * sqrt(alpha * (1 - alpha) / found.studies)


@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.is_bounded])
def test_intervals_hold_the_truth_as_often_as_promised(name: str) -> None:
    """At least 94 %, within 3.3 standard errors; comparisons of one study are not independent."""
    found = row(name)
    assert found.covered / found.intervals >= 0.94 - 3.3 * sqrt(0.94 * 0.06 / found.studies)


def test_a_search_shared_by_all_repetitions_is_known_to_break_the_promise() -> None:
    name = "test-set, 1 variant, 12 trials once, 10 repetitions"
    assert not CELLS[name].is_bounded
    assert row(name).false_rate > 0.10


@pytest.mark.parametrize("name", REPEATED)
def test_first_studies_of_a_cell_have_the_stored_verdicts(name: str) -> None:
    first = next(row for row in TABLE.first if row.cell == name)
    assert count(CELLS[name], FIRST) == first


def test_power_is_that_of_the_noncentral_t_where_only_trainings_vary() -> None:
    """One variant, sd of paired differences known: 1600 examples of no interaction, rope 0."""
    world = World(
        training_sd=4.0,
        shared=0.0,
        interaction_sd=0.0,
        sources=1600,
        examples_of_a_source=1,
        difficulty=(0.6, 0.6),
    )
    design = Design(scope="test-set")
    sd = sqrt(2) * sqrt(4.0**2 + 100**2 * 0.6 * 0.4 / 1600)
    effect, studies = 1.5 * sd, 600
    found = count(Cell("power", design, (effect,), world), studies)
    n = design.repetitions
    expected = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 1.5 * sqrt(n))
    assert found.power == pytest.approx(expected, abs=3.3 * sqrt(expected * (1 - expected) / studies))


def test_looks_stop_granting_repetitions_to_closed_comparisons() -> None:
    cell = CELLS["population, 3 variants, 4 trials, looks 5, 8, 12"]
    for seed in range(5):
        granted, _, found = conclude(cell.design, simulate(cell.world, cell.design, (40.0, 40.0, 0.0), seed))
        assert granted[0] == max(granted)
        assert granted[1:3] == [5, 5]
        assert [one.verdict for one in found[:2]] == ["helps", "helps"]
