"""What searches and learning curves show about their own budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
from support.evidence import FOLDS, REFERENCE, evidence, run_result, shifted, variant

from study.analysis.analyse import findings
from study.analysis.described import Choice
from study.analysis.evidence import Evidence, SearchSettings, TrialEvidence, VariantEvidence
from study.analysis.findings import LimitCode
from study.analysis.sentences.limits import limits
from study.records import Epoch

CLEAR = shifted(3.0, 2.5, 3.5, 2.8, 3.2)
LR = {"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def codes(study: Evidence) -> set[LimitCode]:
    return {limit.code for limit in limits(study)}


def sentence(study: Evidence, code: LimitCode) -> str:
    (found,) = [limit.sentence for limit in limits(study) if limit.code == code]
    return found


def trained(name: str, curve: Sequence[float], **fields: Any) -> VariantEvidence:
    """Return a variant whose runs all have one validation curve, in points."""
    arm = variant(name, REFERENCE if name == "even-odd" else CLEAR, reference=name == "even-odd", **fields)
    history = tuple(
        Epoch(number, 1.0, 1e-3, {"war": value / 100}, 1.0) for number, value in enumerate(curve, start=1)
    )
    runs = []
    for run in arm.repetitions:
        assert run.result is not None
        runs.append(replace(run, result=replace(run.result, history=history, best_epoch=len(curve))))
    return replace(arm, repetitions=tuple(runs))


def searched(
    *searches: Sequence[float], choices: Sequence[float] = (1e-3,), name: str = "issm"
) -> VariantEvidence:
    """Return a variant of which repetitions searched, each with trials of these scores, and chose these rates."""
    trials = [
        TrialEvidence({"train.lr": 1e-3}, run_result("r", score), None, repetition)
        for repetition, scores in enumerate(searches, start=1)
        for score in scores
    ]
    chosen = tuple(Choice({"train.lr": rate}, number) for number, rate in enumerate(choices, start=1))
    arm = variant(name, REFERENCE if name == "even-odd" else CLEAR, reference=name == "even-odd")
    return replace(arm, trials=tuple(trials), chosen=chosen)


def settings(
    trials: int, sampler: str = "auto", scope: Literal["repetition", "study"] = "repetition", **fields: Any
) -> SearchSettings:
    return SearchSettings(scope, sampler, trials, LR, **fields)


@pytest.mark.parametrize(
    ("curve", "is_short"),
    [
        (
            [30, 40, 50, 60, 70, 70.2, 70.1, 70.15, 70.2],
            False,
        ),  # the best epoch is the last, and nothing is left
        ([30, 40, 50, 60, 65, 70, 70, 71.2, 72.4], True),  # 1.2 points an epoch, above r = 1
        ([30, 40, 50, 60, 65, 70, 70, 70.45, 70.9], False),
        ([30, 40, 50, 60, 65, 70, 70, 70.55, 71.1], True),  # 1.1 points over the last third
        ([70, 40], False),
    ],
)
def test_a_training_is_too_short_where_validation_still_rises_over_the_last_third(
    curve: list[float], is_short: bool
) -> None:
    study = evidence(trained("even-odd", [70.0] * 9), trained("issm", curve))
    assert (LimitCode.UNDERTRAINED in codes(study)) == is_short


def test_the_warning_names_the_variant_and_its_slope() -> None:
    rising = [10.0 * number for number in range(1, 7)]
    found = sentence(
        evidence(trained("even-odd", [70.0] * 9), trained("issm", rising)), LimitCode.UNDERTRAINED
    )
    assert "10.0 points an epoch for issm" in found
    assert "even-odd" not in found


def test_choices_at_one_end_of_a_range_are_named_with_their_share_of_the_searches() -> None:
    top = [9.9e-3, 8e-3, 9e-3, 1.1e-4, 1e-3]  # three within the upper tenth of two decades
    study = evidence(
        searched([60] * 4, name="even-odd", choices=[1e-3] * 5),
        searched([60] * 4, choices=top),
        search=settings(4),
    )
    found = sentence(study, LimitCode.CHOSEN_AT_EDGE)
    assert "the upper end of train.lr in 3 of 5 of issm" in found
    assert "even-odd" not in found
    spread = replace(study, variants=(study.variants[0], searched([60] * 4, choices=top[1:])))
    assert LimitCode.CHOSEN_AT_EDGE not in codes(spread), "half of them"


def test_a_search_whose_last_trials_still_improve_is_too_small() -> None:
    flat, rising = [60.0, 70, 70, 70, 70, 70, 70, 70], [60.0, 61, 62, 63, 64, 65, 66, 70]
    study = evidence(
        searched(flat, flat, name="even-odd"), searched(rising, rising), search=settings(8, "tpe")
    )
    found = sentence(study, LimitCode.SEARCH_RISES)
    assert "5.0 points for issm" in found  # from 65 after six trials to 70 after eight
    assert "even-odd" not in found
    quasi_random = replace(study, search=settings(8))
    shuffled = searched(sorted(rising), sorted(rising, reverse=True))
    study_of_random = replace(quasi_random, variants=(study.variants[0], shuffled))
    in_order = replace(quasi_random, variants=(study.variants[0], searched(rising, rising)))
    assert (LimitCode.SEARCH_RISES in codes(study_of_random)) == (
        LimitCode.SEARCH_RISES in codes(in_order)
    ), "random trials have no order"


def test_the_expected_best_of_random_trials_is_the_mean_over_searches() -> None:
    study = evidence(
        searched([60, 60, 60], [60, 60, 60], name="even-odd"),
        searched([60, 70, 80], [50, 50, 50]),
        search=settings(3),
    )
    curve = findings(study).variants[1].expected_best
    assert curve == pytest.approx(((70 + 50) / 2, (230 / 3 + 50) / 2, (80 + 50) / 2))
    assert findings(replace(study, search=settings(3, "tpe"))).variants[1].expected_best == ()


def test_trials_are_numbered_within_their_search() -> None:
    study = evidence(
        searched([60, 70], [80, 65], name="even-odd"), searched([60, 70], [80, 65]), search=settings(2)
    )
    trials = findings(study).variants[1].trials
    assert [(t.repetition, t.number, t.best_so_far) for t in trials] == [
        (1, 1, 60),
        (1, 2, 70),
        (2, 1, 80),
        (2, 2, 80),
    ]


def test_one_search_for_all_repetitions_is_a_limit_and_a_search_in_each_is_none() -> None:
    arms = searched([60] * 4, name="even-odd"), searched([60] * 4)
    assert LimitCode.ONE_SEARCH in codes(evidence(*arms, search=settings(4, scope="study")))
    assert LimitCode.ONE_SEARCH not in codes(evidence(*arms, search=settings(4)))


def test_a_search_shared_by_folds_is_printed_as_leakage() -> None:
    arms = variant("even-odd", REFERENCE, reference=True, folds=5), variant("issm", CLEAR, folds=5)
    shared = evidence(*arms, folds=FOLDS, search=settings(4, shared_folds=True))
    assert LimitCode.SHARED_FOLDS in codes(shared)
    assert LimitCode.SHARED_FOLDS not in codes(replace(shared, search=settings(4)))
