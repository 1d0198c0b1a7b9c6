from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.evidence import FOLDS, MACHINE, REFERENCE, evidence, shifted, two, variant

from study.analysis.evidence import Evidence
from study.analysis.limits import warnings
from study.analysis.notes import notes
from study.records import Machine

CLEAR = shifted(3.0, 2.5, 3.5, 2.8, 3.2)


def pair(
    reference: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **given: Any
) -> Evidence:
    return evidence(
        variant("even-odd", REFERENCE, reference=True, **(reference or {})),
        variant("issm", CLEAR, **(other or {})),
        **given,
    )


def test_a_clean_study_has_no_warnings_of_its_own() -> None:
    assert list(warnings(two(CLEAR))) == []


@pytest.mark.parametrize(
    ("study", "warning"),
    [
        (pair(warnings=("Faces are drawn.",)), "Faces are drawn."),
        (
            pair({"best_epoch": 3}, {"best_epoch": 3}),
            "Training may be too short: the best epoch is the last one in 5 of 5 runs of even-odd "
            "and 5 of 5 runs of issm.",
        ),
        (
            pair(other={"parameters": 1100, "macs": 4000}),
            "issm has 10 % more parameters and 20 % fewer multiply-accumulates than even-odd: "
            "part of their difference may be capacity.",
        ),
        (
            pair({"trials": [60, 70, 65]}, {"trials": [60, 70, 65]}),
            "With 3 trials each, the searches are random searches: a sampler draws its first 10 trials at random.",
        ),
        (
            pair({"trials": [60, 70, 65]}, {"trials": [60, 50]}),
            "The searches had unequal budgets: 3 trials for even-odd and 2 trials for issm.",
        ),
        (
            pair({"trials": [60, "diverged"]}, {"trials": ["diverged", 60, "diverged"]}),
            "Search trials diverged and count as the worst: 1 of 2 trials of even-odd and 2 of 3 trials of issm.",
        ),
        (
            pair({"trials": [60, "failed"]}),
            "Search trials failed and count for nothing: 1 of 2 trials of even-odd.",
        ),
        (
            pair({"trials": [60, 50, 70]}, {"trials": [70, 50, 70]}),
            "The best trial was the last one in the search of even-odd: more trials may find a better one.",
        ),
        (
            pair(other={"machine": replace(MACHINE, versions={"python": "3.12.1", "torch": "2.12.0"})}),
            "The runs were computed with different versions of torch (2.11.0 and 2.12.0).",
        ),
        (
            pair(other={"machine": Machine(MACHINE.versions, "another processor", "Linux")}),
            "The runs were computed on different hardware (a processor and another processor).",
        ),
        (
            two([25.0, 27.0, 24.0, 26.0, 25.5]),
            "issm scores 25.5 WAR, not clearly above the 25.0 of guessing: it may have learned nothing.",
        ),
        (
            two([60.0] * 5),
            "issm scores the same with 5 seeds: does the seed reach its training?",
        ),
    ],
)
def test_what_limits_a_conclusion_is_said(study: Evidence, warning: str) -> None:
    assert warning in list(warnings(study))


def test_a_score_is_compared_with_guessing_where_that_is_known() -> None:
    def guessed(chance: float | None) -> bool:
        return any("guessing" in warning for warning in warnings(two(CLEAR, chance=chance)))

    assert not guessed(0.4)
    assert guessed(0.62)
    assert not guessed(None)


def test_a_training_that_knows_its_test_figures_limits_the_conclusion() -> None:
    study = two(CLEAR)
    issm = study.variants[1]
    run = issm.confirmations[0]
    assert run.test is not None
    seen = replace(run, test=replace(run.test, seen_in_training=True))
    arms = (study.variants[0], replace(issm, confirmations=(seen, *issm.confirmations[1:])))
    assert any("has seen the test split" in warning for warning in warnings(replace(study, variants=arms)))


def test_a_last_epoch_that_is_always_tested_is_no_sign_of_a_short_training() -> None:
    study = two(CLEAR)
    arms = []
    for arm in study.variants:
        runs = []
        for run in arm.confirmations:
            assert run.result is not None
            runs.append(replace(run, result=replace(run.result, best_epoch=3)))  # the second one was better
        arms.append(replace(arm, confirmations=tuple(runs)))
    assert not any("too short" in warning for warning in warnings(replace(study, variants=tuple(arms))))


def test_enough_trials_are_no_random_search() -> None:
    study = pair({"trials": [70.0] * 10}, {"trials": [70.0] * 10})
    assert list(warnings(study)) == []


def test_notes_tell_what_five_seeds_can_show() -> None:
    told = " ".join(notes(two(CLEAR)))
    assert (
        "5 seeds find with 80 % power is 1.68 standard deviations of the paired differences, here 0.6 points for issm"
        in told
    )
    assert "3.26 with 3, 1.68 with 5, 1.16 with 8, 1.00 with 10 and 0.66 with 20" in told
    assert "cannot reach p < 0.05 with 5 seeds (least p 0.0625; they need 6)" in told
    assert "a statement about this split and these hyperparameters" in told


@pytest.mark.parametrize(("clips", "half_width"), [(500, "4.0"), (2000, "2.0"), (10000, "0.9")])
def test_notes_tell_what_the_size_of_the_test_split_does(clips: int, half_width: str) -> None:
    reference = [70.0, 71.0, 69.0, 70.0, 70.0]
    told = " ".join(notes(two(CLEAR, reference, examples_in_test=clips)))
    assert f"moves a WAR of 70.0 by ±{half_width} points" in told


def test_notes_on_folds_speak_of_folds() -> None:
    arms = variant("even-odd", REFERENCE, reference=True, folds=5), variant("issm", CLEAR, folds=5)
    told = " ".join(notes(evidence(*arms, folds=FOLDS)))
    assert "over 5 folds" in told
    # 1.68 sd of independent differences, times sqrt(1 + 5 * 100 / 400) for the shared training clips
    assert "2.52 standard deviations" in told


def test_notes_name_operators_without_a_count() -> None:
    told = " ".join(notes(pair(other={"uncounted": ("aten::gru",)})))
    assert "knows nothing of aten::gru" in told


def test_notes_describe_the_family_of_several_comparisons() -> None:
    arms = variant("even-odd", REFERENCE, reference=True), variant("issm", CLEAR), variant("haar", CLEAR)
    told = " ".join(notes(evidence(*arms)))
    assert "97.5 % interval" in told
    assert "corrected for 2 comparisons (Bonferroni)" in told
    assert "Bonferroni" not in " ".join(notes(two(CLEAR)))
