"""Looks of a study: what closes an effect, at which levels the report decides, and on which runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats
from support.evidence import REFERENCE, evidence, shifted, variant

from study.analysis.analyse import findings
from study.analysis.evidence import Evidence
from study.analysis.findings import Difference
from study.analysis.interim import decide
from study.ledger.record import Closing, Interim
from study.statistics.boundaries import boundary

LOOKS = (5, 8, 12)
CLEAR = (3.0, 2.5, 3.5, 2.8, 3.2)
UNCLEAR = (2.6, -0.9, 1.6, -0.4, 1.1)


def study(differences: tuple[float, ...], **fields: object) -> Evidence:
    arms = variant("even-odd", REFERENCE, reference=True), variant("issm", shifted(*differences))
    return evidence(*arms, looks=LOOKS, **fields)


def difference(found: Evidence) -> Difference:
    (only,) = [v.difference for v in findings(found).variants if v.difference is not None]
    return only


def name_of(found: Evidence) -> str:
    (effect,) = found.family
    return effect.name


def closed(found: Evidence, look: int = 5) -> Evidence:
    """Return a study whose only comparison was closed by a look at its runs so far."""
    runs = {arm.name: tuple(run.run for run in arm.repetitions) for arm in found.variants}
    interim = Interim(look, {name_of(found): Closing("decided", "helps")}, runs)
    return replace(found, interims={look: interim})


def test_a_clear_difference_is_closed_at_the_first_look_and_an_unclear_one_stays_open() -> None:
    clear, unclear = study(CLEAR), study(UNCLEAR)
    assert decide(clear, 5, [name_of(clear)]) == {name_of(clear): Closing("decided", "helps")}
    assert decide(unclear, 5, [name_of(unclear)]) == {}
    assert decide(clear, 5, []) == {}, "a closed one is not decided again"


def test_a_difference_that_only_a_single_look_would_show_stays_open_at_the_first_of_three() -> None:
    # t = 3.3: above 2.78 of a study of five, below 3.70 of a look after five of twelve
    values = (3.0, 0.3, 2.9, 0.7, 2.4)
    t = stats.ttest_1samp(values, 0).statistic
    assert 2.78 < t < boundary(LOOKS, 0.05).two_sided[0]
    looked = study(values)
    assert decide(looked, 5, [name_of(looked)]) == {}
    assert difference(looked).verdict == "inconclusive"
    assert difference(replace(looked, looks=())).verdict == "helps"


def test_the_interval_of_a_look_has_its_critical_value() -> None:
    found = difference(closed(study(CLEAR)))
    mean, error = sum(CLEAR) / 5, stats.sem(CLEAR)
    low, high = found.corrected.low, found.corrected.high
    critical = boundary(LOOKS, 0.05).two_sided[0]
    assert (low, high) == pytest.approx((mean - critical * error, mean + critical * error), abs=0.01)


def test_the_described_interval_is_at_the_level_of_the_look_for_one_comparison_also_in_a_family() -> None:
    arms = variant("even-odd", REFERENCE, reference=True), variant("issm", shifted(*CLEAR))
    one, two = closed(study(CLEAR)), evidence(*arms, variant("offsets", shifted(*UNCLEAR)), looks=LOOKS)
    mean, error = sum(CLEAR) / 5, stats.sem(CLEAR)
    half = boundary(LOOKS, 0.05).two_sided[0] * error
    for found in (one, two):
        interval = next(v.difference.interval for v in findings(found).variants if v.difference is not None)
        assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half), abs=0.01)


def test_a_closed_comparison_rests_on_the_runs_of_its_look_whatever_is_added_later() -> None:
    before = closed(study(CLEAR))
    more = [*REFERENCE, 61.0, 62.0, 63.0]
    arms = (
        variant("even-odd", more, reference=True),
        variant("issm", [*shifted(*CLEAR), *(score - 9 for score in more[5:])]),
    )
    later = evidence(*arms, looks=LOOKS, interims=before.interims)
    assert difference(later).values == difference(before).values
    assert difference(later).verdict == "helps"
