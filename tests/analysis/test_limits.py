"""Limits of a conclusion, and notes on how to read it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats
from support.evidence import FOLDS, MACHINE, REFERENCE, evidence, shifted, two, variant
from support.text_report import render

from study.analysis.analyse import findings
from study.analysis.evidence import Evidence
from study.analysis.findings import Limit, LimitCode
from study.analysis.sentences.capacity import notes_on_capacity
from study.analysis.sentences.limits import limits
from study.analysis.sentences.notes import NoteCode, notes
from study.records import Machine

CLEAR = shifted(3.0, 2.5, 3.5, 2.8, 3.2)
UNCLEAR = shifted(2.6, -0.9, 1.6, -0.4, 1.1)


def pair(
    reference: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **fields: Any
) -> Evidence:
    return evidence(
        variant("even-odd", REFERENCE, reference=True, **(reference or {})),
        variant("issm", CLEAR, **(other or {})),
        **fields,
    )


def sentences(study: Evidence, code: LimitCode) -> list[str]:
    """Return the sentences of a study's limits of one kind."""
    return [limit.sentence for limit in limits(study) if limit.code == code]


def noted(study: Evidence) -> dict[NoteCode, str]:
    """Return the sentences of a study's notes by their kinds."""
    return {note.code: note.sentence for note in notes(study)}


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a sentence, in order."""
    return re.findall(r"\d+(?:\.\d+)?", text)


def test_a_study_without_defects_has_no_limits() -> None:
    assert list(limits(two(CLEAR))) == []


def test_parameters_that_are_not_trained_are_capacity_too() -> None:
    study = pair(other={"parameters": 400})
    assert list(notes_on_capacity(study)) != []
    reference, other = study.variants
    assert other.profile is not None
    frozen = replace(other, profile=replace(other.profile, frozen=600))
    assert list(notes_on_capacity(replace(study, variants=(reference, frozen)))) == []


def test_a_larger_variant_is_noted_beside_the_results_with_its_figures() -> None:
    study = pair(other={"parameters": 1100, "macs": 4000})
    (sentence,) = findings(study).capacity
    for phrase in ("issm", "10 % more parameters", "20 % fewer multiply-accumulates", "than even-odd"):
        assert phrase in sentence
    assert list(limits(study)) == []
    assert sentence in render(findings(study))


def test_equal_scores_of_trainings_with_different_curves_are_chance() -> None:
    study = two([60.0] * 3)
    reference, other = study.variants
    runs = list(other.repetitions)
    result = runs[0].result
    assert result is not None
    history = (replace(result.history[0], train_loss=0.125), *result.history[1:])
    runs[0] = replace(runs[0], result=replace(result, history=history))
    changed = replace(study, variants=(reference, replace(other, repetitions=tuple(runs))))
    assert sentences(study, LimitCode.EQUAL_SCORES) != []
    assert sentences(changed, LimitCode.EQUAL_SCORES) == []


@pytest.mark.parametrize(
    ("study", "code", "phrases"),
    [
        (
            pair({"trials": [60, 70, 65]}, {"trials": [60, 50]}),
            LimitCode.UNEQUAL_BUDGETS,
            ["3 for even-odd", "2 for issm"],
        ),
        (
            pair({"trials": [60, "diverged"]}, {"trials": ["diverged", 60, "diverged"]}),
            LimitCode.DIVERGED_TRIALS,
            ["1 of 2 trials of even-odd", "2 of 3 trials of issm"],
        ),
        (
            pair({"trials": [60, "failed"]}),
            LimitCode.FAILED_TRIALS,
            ["1 of 2 trials of even-odd."],
        ),
        (
            pair(other={"machine": replace(MACHINE, versions={"python": "3.12.1", "torch": "2.12.0"})}),
            LimitCode.MIXED_VERSIONS,
            ["torch (2.11.0 and 2.12.0)"],
        ),
        (
            pair(other={"machine": Machine(MACHINE.versions, "another processor", "Linux")}),
            LimitCode.MIXED_HARDWARE,
            [MACHINE.hardware, "another processor"],
        ),
        (
            two([25.0, 27.0, 24.0, 26.0, 25.5]),
            LimitCode.NEAR_CHANCE,
            ["issm", "25.5 WAR", "25.0 of guessing"],
        ),
        (
            two([60.0] * 5),
            LimitCode.EQUAL_SCORES,
            ["issm", "5 repetitions"],
        ),
    ],
)
def test_what_limits_a_conclusion_is_reported_once_with_its_figures(
    study: Evidence, code: LimitCode, phrases: list[str]
) -> None:
    (sentence,) = sentences(study, code)
    for phrase in phrases:
        assert phrase in sentence


def test_limits_of_the_record_are_passed_on() -> None:
    limit = Limit(LimitCode.DATA, "Faces are synthetic.")
    assert list(limits(two(CLEAR, limits=(limit,)))) == [limit]


def test_a_score_is_compared_with_guessing_where_that_is_known() -> None:
    def is_near_chance(chance: float | None) -> bool:
        return bool(sentences(two(CLEAR, chance=chance), LimitCode.NEAR_CHANCE))

    assert not is_near_chance(0.4)
    assert is_near_chance(0.62)
    assert not is_near_chance(None)


def test_a_training_that_knows_its_test_figures_limits_the_conclusion() -> None:
    study = two(CLEAR)
    issm = study.variants[1]
    run = issm.repetitions[0]
    assert run.test is not None
    seen = replace(run, test=replace(run.test, seen_in_training=True))
    arms = (study.variants[0], replace(issm, repetitions=(seen, *issm.repetitions[1:])))
    assert [limit.code for limit in limits(replace(study, variants=arms))] == [LimitCode.TEST_SEEN]


def test_a_warning_of_some_trainings_says_of_how_many() -> None:
    study = two(CLEAR)
    issm = study.variants[1]
    run = issm.repetitions[0]
    assert run.result is not None
    warned = replace(run, result=replace(run.result, warnings=("The loss has spikes.",)))
    arms = (study.variants[0], replace(issm, repetitions=(warned, *issm.repetitions[1:])))
    (sentence,) = sentences(replace(study, variants=arms), LimitCode.TRAINING_WARNING)
    assert "1 of 10" in sentence
    assert sentence.endswith(warned.result.warnings[0])


def test_notes_advise_no_number_of_repetitions() -> None:
    found = noted(two(UNCLEAR))
    assert numbers_in(found[NoteCode.RANK_TESTS]) == ["0.05", "5", "0.0625"]
    assert "exactly these test clips" in found[NoteCode.COVERAGE]
    assert "new clips" in noted(two(UNCLEAR, scope="population"))[NoteCode.COVERAGE]
    assert not any("80 %" in sentence for sentence in found.values())


def test_scores_that_move_against_each_other_are_remarked_on() -> None:
    note = noted(two([62.0, 60.0, 63.0, 60.5, 62.5]))[NoteCode.NEGATIVE_CORRELATION]
    expected = stats.pearsonr(REFERENCE, [62.0, 60.0, 63.0, 60.5, 62.5])
    low, high = expected.confidence_interval()
    signed = [number.replace("−", "-") for number in re.findall(r"−?\d\.\d\d", note)]
    assert [float(number) for number in signed] == pytest.approx([expected.statistic, low, high], abs=0.006)
    assert NoteCode.NEGATIVE_CORRELATION not in noted(two(CLEAR))


@pytest.mark.parametrize(("clips", "half_width"), [(500, "4.0"), (2000, "2.0"), (10000, "0.9")])
def test_notes_state_the_error_due_to_the_size_of_the_test_split(clips: int, half_width: str) -> None:
    reference = [70.0, 71.0, 69.0, 70.0, 70.0]
    note = noted(two(CLEAR, reference, examples_in_test=clips))[NoteCode.TEST_SIZE]
    assert numbers_in(note) == [str(clips), "70.0", half_width, "95"]
    assert f"±{half_width} points" in note
    assert "WAR" in note


def test_notes_of_a_study_with_folds_say_that_intervals_are_over_folds() -> None:
    arms = variant("even-odd", REFERENCE, reference=True, folds=5), variant("issm", CLEAR, folds=5)
    coverage = noted(evidence(*arms, folds=FOLDS))[NoteCode.COVERAGE]
    assert "over folds" in coverage
    assert "new clips" in coverage


def test_notes_name_operators_without_a_count() -> None:
    assert "aten::gru" in noted(pair(other={"uncounted": ("aten::gru",)}))[NoteCode.UNCOUNTED_OPERATORS]
    assert NoteCode.UNCOUNTED_OPERATORS not in noted(pair())


def test_notes_describe_the_family_of_several_comparisons() -> None:
    arms = variant("even-odd", REFERENCE, reference=True), variant("issm", CLEAR), variant("haar", CLEAR)
    assert numbers_in(noted(evidence(*arms))[NoteCode.CORRECTION]) == ["97.5", "95", "2"]
    assert NoteCode.CORRECTION not in noted(two(CLEAR))
