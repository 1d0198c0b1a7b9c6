"""Scores against cost: the Pareto front of each stratum, and what is not significantly below it."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import pytest
from scipy import stats
from support.evidence import REFERENCE, RMSE, evidence, shifted, variant

from study.analysis.analyse import findings
from study.analysis.described import Tradeoff
from study.analysis.evidence import Evidence, VariantEvidence

WIDE = (3.0, -2.5, 3.5, -2.8, -3.2)
"""Differences whose mean does not differ significantly from 0."""


def at(name: str, differences: tuple[float, ...], macs: int) -> VariantEvidence:
    return variant(name, shifted(*differences), macs=macs)


def tradeoff(*variants: VariantEvidence) -> Tradeoff:
    found = findings(study(*variants)).tradeoff
    assert found is not None
    return found


def study(*variants: VariantEvidence, **fields: object) -> Evidence:
    return evidence(variant("even-odd", REFERENCE, reference=True, macs=1000), *variants, **fields)


def test_the_front_has_the_variants_that_none_beats_in_score_and_cost() -> None:
    higher, lower, best = at("b", (9.0,) * 5, 2000), at("c", (5.0,) * 5, 3000), at("d", (12.0,) * 5, 4000)
    found = tradeoff(higher, lower, best)
    assert found.costs == {"even-odd": 1000, "b": 2000, "c": 3000, "d": 4000}
    assert found.fronts == (("even-odd", "b", "d"),)
    assert found.near == ()  # every repetition of c is 4 points below b, which costs less


def test_for_a_metric_that_is_minimized_the_front_has_the_smallest_values() -> None:
    arms = (
        variant("even-odd", REFERENCE, reference=True, macs=1000, metric=RMSE),
        variant("b", shifted(9.0, 8.0, 9.0, 8.0, 9.0), macs=2000, metric=RMSE),
    )
    found = findings(evidence(*arms, metric=RMSE, metrics=(RMSE,))).tradeoff
    assert found is not None
    assert found.fronts == (("even-odd",),)


def test_a_variant_below_the_front_by_chance_cannot_be_told_from_it() -> None:
    found = tradeoff(
        at("b", tuple(-each for each in WIDE), 2000), at("c", (-9.0, -8.0, -9.0, -8.0, -9.0), 3000)
    )
    assert found.fronts == (("even-odd", "b"),)
    assert found.near == ()
    found = tradeoff(
        at("b", tuple(each - 0.1 for each in WIDE), 2000), at("c", (-9.0, -8.0, -9.0, -8.0, -9.0), 3000)
    )
    assert found.fronts == (("even-odd",),)
    assert found.near == ("b",)


def test_all_pairs_that_are_looked_at_are_one_family() -> None:
    """Of two equal variants each has p = .04 alone: shown to be below the front alone, and not as one of two."""
    t = stats.t.ppf(1 - 0.04 / 2, 4)
    scores = [NormalDist().inv_cdf(at / 6) for at in range(1, 6)]
    sd = stats.tstd(scores)
    values = tuple(each / sd - t / 5**0.5 for each in scores)
    assert stats.ttest_1samp(values, 0).pvalue == pytest.approx(0.04)
    assert tradeoff(at("b", values, 2000)).near == ()
    assert tradeoff(at("b", values, 2000), at("c", values, 3000)).near == ("b", "c")


def test_each_stratum_has_a_front_of_its_own() -> None:
    hard = [replace(at(name, (-30.0 + gain,) * 5, macs), reference="hard") for name, gain, macs in
            (("hard", 0.0, 1000), ("hard b", 5.0, 2000))]  # fmt: skip
    given = study(at("b", (9.0,) * 5, 2000))
    found = findings(replace(given, variants=(*given.variants, *hard))).tradeoff
    assert found is not None
    assert found.fronts == (("even-odd", "b"), ("hard", "hard b"))


def test_variants_of_one_cost_have_no_front() -> None:
    alike = [replace(arm, repetitions=arm.repetitions) for arm in study(at("b", WIDE, 1000)).variants]
    assert findings(evidence(*alike)).tradeoff is None


def test_training_times_are_shown_and_are_no_finding() -> None:
    """They differ from run to run, and equal trainings must give equal findings."""
    alike = study(at("b", (5.0,) * 5, 1000)).variants
    slower = variant("c", shifted(*(2.0,) * 5), macs=1000, seconds=20.0)
    found = findings(evidence(*alike, slower))
    assert found.tradeoff is None
    shown = found.score_against_cost
    assert shown is not None
    assert shown.costs == {"even-odd": 10.0, "b": 10.0, "c": 20.0}
    assert shown.fronts == (("b",),)
    assert shown.near == ()


def test_scores_chosen_on_the_test_split_tell_nothing_apart() -> None:
    found = findings(replace(study(at("b", WIDE, 2000)), is_optimistic=True)).tradeoff
    assert found is not None
    assert found.near == ()
