"""Scores over all data sets of a study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from support.evidence import evidence, variant

from study.analysis.analyse import findings
from study.analysis.described import Across
from study.analysis.evidence import Evidence, VariantEvidence
from study.reporting.figures.draw import draw
from study.reporting.sections.report import document
from study.reporting.writers.markdown import markdown

METHODS = ("even-odd", "issm", "offsets")


def arm(method: str, dataset: str, scores: list[float]) -> VariantEvidence:
    made = variant(f"{method}, {dataset}", scores, reference=method == METHODS[0])
    return replace(
        made, reference=f"{METHODS[0]}, {dataset}", levels={"splitter": method, "dataset": dataset}
    )


def study(sets: int, factor: str = "dataset") -> tuple[Evidence, np.ndarray]:
    """Return a study with three repetitions on each data set, and its scores, (sets, methods, 3)."""
    noise = np.random.default_rng(sets).normal(size=(sets, len(METHODS), 3))
    scores = 60 + noise + 3 * np.arange(len(METHODS))[:, None]
    arms = [
        replace(found, levels={"splitter": method, factor: f"D{number}"})
        for number, on_set in enumerate(scores)
        for method, own in zip(METHODS, on_set, strict=True)
        for found in [arm(method, f"D{number}", list(own))]
    ]
    whole = evidence(*arms)
    return replace(whole, variants=tuple(arms)), scores


def across(given: Evidence) -> Across:
    found = findings(given).across
    assert found is not None
    return found


def test_interquartile_means_are_those_of_all_runs_of_a_method() -> None:
    given, scores = study(3)
    found = across(given)
    assert (found.sets, [row.name for row in found.rows]) == (3, list(METHODS))
    for at, row in enumerate(found.rows):
        assert row.score.mean == pytest.approx(stats.trim_mean(scores[:, at].ravel(), 0.25))
        assert row.score.low < row.score.mean < row.score.high
    assert found.rows[0].difference is None
    paired = (scores[:, 2] - scores[:, 0]).ravel()
    assert found.rows[2].difference is not None
    assert found.rows[2].difference.mean == pytest.approx(stats.trim_mean(paired, 0.25))


def test_profiles_fall_from_nearly_all_runs_to_none() -> None:
    given, scores = study(3)
    found = across(given)
    assert found.thresholds[0] == pytest.approx(scores.min())
    for at, row in enumerate(found.rows):
        shares = [(scores[:, at] > threshold).mean() for threshold in found.thresholds[1:-1]]
        assert row.profile[1:-1] == pytest.approx(shares)
        assert row.profile[-1] == 0


def test_ranks_need_ten_data_sets() -> None:
    assert across(study(9)[0]).p is None
    given, scores = study(10)
    found = across(given)
    means = stats.rankdata(-scores.mean(axis=2), axis=1).mean(axis=0)
    assert [row.rank for row in found.rows] == pytest.approx(list(means))
    assert found.p is not None
    assert found.p < 0.001
    assert found.critical_difference == pytest.approx(
        2.343 * np.sqrt(12 / 60), abs=0.001
    )  # Demsar 2006, table 5


def test_strata_that_are_no_data_sets_have_nothing_in_common() -> None:
    assert findings(study(3, factor="train.epochs")[0]).across is None


def test_a_data_set_without_scores_leaves_the_section_out() -> None:
    given, _ = study(3)
    assert findings(replace(given, variants=given.variants[:-1])).across is None


@pytest.mark.parametrize("sets", [3, 10])
def test_the_report_has_the_section_with_its_figure(sets: int) -> None:
    found = findings(study(sets)[0])
    body = markdown(document(found))
    assert f"All {sets} data sets together" in body
    assert ("Mean rank" in body) == (sets == 10)
    assert draw(found)["figures/profiles.svg"].startswith(b"<?xml")
