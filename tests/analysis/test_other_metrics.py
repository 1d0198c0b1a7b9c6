"""A metric that is minimized, unbounded and in kelvin is judged as well as a share of right clips."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats
from support.evidence import CLASSES, FOLDS, REFERENCE, RMSE, UAR, WAR, evidence, shifted, two, variant
from support.text_report import render

from study.analysis.analyse import findings
from study.analysis.evidence import Evidence
from study.analysis.findings import Difference, Findings, LimitCode
from study.analysis.sentences.limits import limits
from study.analysis.sentences.notes import NoteCode, notes
from study.ledger.record import ClaimRecord as Claim
from study.metrics import Metric
from study.records import Breakdown
from study.reporting.figure_specs import figure_specs
from study.reporting.write import machine_readable

LOWER = (-3.0, -2.5, -3.5, -2.8, -3.2)
HIGHER = (3.0, 2.5, 3.5, 2.8, 3.2)
ERROR: dict[str, Any] = {"metric": RMSE, "metrics": (RMSE,), "chance": None, "noun": "sample"}
LOSS = Metric("nll", "", unit="", scale=1.0, direction="minimize", low=None, high=None)
"""Without a label, a unit or a bound."""


def only(found: Findings) -> Difference:
    (difference,) = [v.difference for v in found.variants if not v.is_reference]
    assert difference is not None
    return difference


def sentences(study: Evidence, code: LimitCode) -> list[str]:
    """Return the sentences of a study's limits of one kind."""
    return [limit.sentence for limit in limits(study) if limit.code == code]


def heads(text: str, columns: int) -> list[list[str]]:
    """Return the first `columns` cells of every row of the tables in `text`."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row[:columns] for row in rows]


def errors(*arms: dict[str, Any], **given: Any) -> Evidence:
    return evidence(
        *(variant(arm.pop("name"), arm.pop("scores"), metric=RMSE, **arm) for arm in arms),
        **{**ERROR, **given},
    )


@pytest.mark.parametrize(
    ("differences", "verdict", "claim", "wins"),
    [
        (LOWER, "helps", "supported", 5.0),
        (HIGHER, "hurts", "refuted", 0.0),
        ((0.1, -0.2, 0.2, 0.0, -0.1), "equivalent", "refuted", 2.5),
        ((-0.8, -0.5, -1.1, -0.7, -0.9), "slight", "undecided", 5.0),
        ((2.6, -0.9, 1.6, -0.4, 1.1), "inconclusive", "refuted", 2.0),
    ],
)
def test_lower_is_better_where_the_metric_says_so(
    differences: tuple[float, ...], verdict: str, claim: str, wins: float
) -> None:
    found = findings(two(shifted(*differences), **ERROR))
    assert only(found).verdict == verdict
    assert found.claims[0].verdict == claim
    assert only(found).wins == wins


def test_the_printed_difference_is_the_variant_minus_the_reference() -> None:
    scores = shifted(*LOWER)
    difference = only(findings(two(scores, **ERROR)))
    expected = stats.ttest_rel(scores, REFERENCE)
    interval = expected.confidence_interval(0.95)
    assert difference.interval.mean == pytest.approx(-3.0)
    assert (difference.interval.low, difference.interval.high) == pytest.approx((interval.low, interval.high))
    assert difference.p == pytest.approx(expected.pvalue)
    assert difference.effect is not None
    assert difference.effect < 0
    assert difference.p_better is not None
    assert difference.p_worse is not None
    assert difference.p_better > 0.99 > 0.01 > difference.p_worse


def test_a_claim_for_the_reference_is_supported_where_the_variant_has_more_error() -> None:
    claims = (Claim("even-odd", "issm"),)
    assert findings(two(shifted(*HIGHER), **ERROR, claims=claims)).claims[0].verdict == "supported"
    assert findings(two(shifted(*LOWER), **ERROR, claims=claims)).claims[0].verdict == "refuted"


def test_the_answer_has_the_unit_of_the_metric_and_says_that_lower_is_better() -> None:
    answer = findings(two(shifted(*LOWER), **ERROR)).answer
    for part in ("issm helps", " 57 ", " 60 K RMSE", "(lower is better;", " −3 K,", "−3.47 to −2.53"):
        assert part in answer
    several = errors(
        {"name": "even-odd", "scores": REFERENCE, "reference": True},
        {"name": "issm", "scores": shifted(*LOWER)},
        {"name": "haar", "scores": shifted(*HIGHER)},
    )
    answer = findings(several).answer
    for part in ("in K of RMSE", "(lower is better)", "issm (−3) helps", "haar (+3) hurts"):
        assert part in answer


def test_a_small_gain_is_called_better_though_its_difference_is_negative() -> None:
    found = findings(two(shifted(-0.8, -0.5, -1.1, -0.7, -0.9), **ERROR))
    assert only(found).verdict == "slight"
    assert "issm is slightly better," in found.answer
    assert "1 K" in found.answer, "the least difference of interest"


def test_folds_are_judged_by_gains_too() -> None:
    arms = (
        variant("even-odd", REFERENCE, reference=True, folds=5, metric=RMSE),
        variant("issm", shifted(*LOWER), folds=5, metric=RMSE),
    )
    assert only(findings(evidence(*arms, folds=FOLDS, **ERROR))).verdict == "helps"


def test_the_best_trial_so_far_is_the_one_of_least_error_and_a_diverged_one_has_none() -> None:
    trials = ["diverged", 60.0, "failed", 65.0, 55.0]
    study = errors(
        {"name": "even-odd", "scores": REFERENCE, "reference": True, "trials": trials},
        {"name": "issm", "scores": shifted(*LOWER)},
    )
    found = findings(study).variants[0].trials
    assert [trial.score for trial in found] == [None, 60.0, None, 65.0, 55.0]
    assert [trial.best_so_far for trial in found] == [None, 60.0, 60.0, 60.0, 55.0]


def test_a_training_whose_error_still_falls_may_be_too_short() -> None:
    still = {"best_epoch": 3}  # the error falls by 1 K from epoch 2 to 3
    study = errors(
        {"name": "even-odd", "scores": REFERENCE, "reference": True, **still},
        {"name": "issm", "scores": shifted(*LOWER)},
        rope=0.9,
    )
    (sentence,) = sentences(study, LimitCode.UNDERTRAINED)
    assert "−1 K an epoch for even-odd" in sentence
    assert "issm" not in sentence
    assert not sentences(replace(study, rope=1.1), LimitCode.UNDERTRAINED)


def test_guessing_is_compared_from_the_right_side_and_only_where_it_is_known() -> None:
    def guessed(chance: float | None) -> list[str]:
        study = two(shifted(*LOWER), **{**ERROR, "chance": chance})
        return sentences(study, LimitCode.NEAR_CHANCE)

    assert guessed(None) == []
    assert guessed(90.0) == []
    assert len(guessed(59.0)) == 1, "the reference alone: its interval reaches 61.4"
    (warning,) = guessed(59.0)
    for part in ("even-odd", " 60 K RMSE", "below the 59 K"):
        assert part in warning


def test_the_size_of_the_test_split_is_noted_of_proportions_only() -> None:
    def noted(study: Evidence) -> list[str]:
        return [note.sentence for note in notes(study) if note.code == NoteCode.TEST_SIZE]

    assert not noted(two(shifted(*LOWER), **ERROR))
    (note,) = noted(two(shifted(*HIGHER), metric=UAR, metrics=(UAR, WAR)))
    assert "WAR of 60.0" in note


def test_a_report_on_another_metric_speaks_of_no_points_and_no_clips() -> None:
    study = two(shifted(*LOWER), **ERROR, facts={"commit": "unknown"})
    text = render(findings(study))
    assert "points" not in text
    assert "clip" not in text
    assert not re.search(r"\(%\)", text)
    assert ["Variant", "RMSE (K)", "n", "Difference (K)", "Verdict"] in heads(text, 5)
    assert ["Variant", "Repetition", "Test RMSE (K)", "Validation RMSE (K)"] in heads(text, 4)
    assert re.search(r"Table 1\..* K, lower", text)
    assert "MACs per sample" in text
    assert "below −1 K" in text


def test_a_metric_without_a_unit_has_none_in_tables_and_sentences() -> None:
    bare = {"metric": LOSS, "metrics": (LOSS,), "chance": None, "noun": "sample", "rope": 0.01}
    found = findings(two([0.41234, 0.4, 0.39, 0.4, 0.41], [0.52, 0.5, 0.51, 0.53, 0.52], **bare))
    for part in (" 0.4025 ", " 0.516 nll (", "lower is better; −0.114,"):
        assert part in found.answer
    text = render(found)
    assert ["Variant", "nll", "n", "Difference", "Verdict"] in heads(text, 5)
    assert " 0.01 (lower is better)" in text
    assert "()" not in text


def test_other_metrics_of_the_study_are_secondary_and_have_their_own_units() -> None:
    mae = Metric("mae", "MAE", unit="K", scale=1.0, direction="minimize", high=None)
    study = two(shifted(*LOWER), **{**ERROR, "metrics": (RMSE, mae)})
    arms = []
    for arm in study.variants:
        runs = []
        for run in arm.repetitions:
            assert run.test is not None
            runs.append(
                replace(run, test=replace(run.test, metrics={**run.test.metrics, "mae": 4.5, "seen": 7.0}))
            )
        arms.append(replace(arm, repetitions=tuple(runs)))
    found = findings(replace(study, variants=tuple(arms)))
    assert found.variants[1].secondary["mae"].mean == 4.5
    assert list(found.variants[1].secondary) == ["mae"], "what the study does not declare is no metric"
    assert found.variants[1].repetitions[0].metrics == {"rmse": pytest.approx(57.0), "mae": 4.5, "seen": 7.0}
    text = render(found)
    assert re.search(r"Table \d+\.\*\* MAE .* K, lower", text)
    assert ["Variant", "Repetition", "Test RMSE (K)", "Test MAE (K)", "Test seen"] in heads(text, 5)
    assert [metric["name"] for metric in json.loads(machine_readable(found))["metrics"]] == ["rmse", "mae"]


def test_training_without_losses_still_shows_its_validation_curve() -> None:
    study = two(shifted(*LOWER), **ERROR)
    arms = []
    for arm in study.variants:
        runs = []
        for run in arm.repetitions:
            assert run.result is not None
            first, second, third = run.result.history
            history = (
                replace(first, train_loss=None, learning_rate=None, validation={}),
                replace(second, train_loss=None, learning_rate=None, epoch=5),
                replace(third, train_loss=None, learning_rate=None, epoch=10),
            )
            runs.append(
                replace(run, result=replace(run.result, history=history, best_epoch=5, parameters=None))
            )
        arms.append(replace(arm, repetitions=tuple(runs), profile=None))
    found = findings(replace(study, variants=tuple(arms)))
    curve = found.variants[1].curves[0]
    assert curve.train_loss == ()
    assert curve.epochs == (1, 5, 10)
    assert curve.points("validation") == {5: 70.0, 10: 71.0}
    assert found.variants[1].parameters is None
    assert "loss" not in figure_specs(found)["learning"].caption
    head = ["Variant", "RMSE (K)", "n", "Difference (K)", "Verdict", "Training"]
    assert head in heads(render(found), 6), "no column of parameters"


def test_rows_that_only_some_folds_have_are_kept_and_counted_once_a_fold() -> None:
    arms = (
        variant("even-odd", REFERENCE, reference=True, folds=5),
        variant("issm", shifted(*HIGHER), folds=5),
    )
    changed = []
    for arm in arms:
        runs = []
        for run in arm.repetitions:
            assert run.test is not None
            names = ("day",) if run.fold == 1 else ("night", "day")
            part = Breakdown(
                "scene", "WAR in each scene", dict.fromkeys(names, 0.5), counts=dict.fromkeys(names, 10)
            )
            runs.append(replace(run, test=replace(run.test, breakdowns=(part,))))
        changed.append(replace(arm, repetitions=tuple(runs)))
    found = findings(evidence(*changed, folds=FOLDS))
    (breakdown,) = found.breakdowns
    assert breakdown.rows == ("night", "day")
    assert breakdown.counts == {"day": 50, "night": 40}
    assert found.variants[1].runs["scene/night"] == 4
    text = render(found)
    assert ["Scene", "Clips", "even-odd", "issm"] in heads(text, 4)
    assert "| night | 40 | 50.0 ± 0.0 (4 of 5) | 50.0 ± 0.0 (4 of 5) |" in text


def test_findings_become_a_table_of_repetitions() -> None:
    pytest.importorskip("pandas")
    table = findings(two(shifted(*HIGHER))).to_dataframe()
    assert len(table) == 10
    assert {"variant", "level/splitter", "repetition", "fold", "run", "test/loss", "test/war"} < {*table}
    assert table[table.variant == "issm"]["test/war"].tolist() == pytest.approx(shifted(*HIGHER))


def test_a_notebook_shows_the_answer_and_the_main_table() -> None:
    shown = findings(two(shifted(*LOWER), **ERROR))._repr_markdown_()
    assert "Yes, issm helps" in shown
    assert ["Variant", "RMSE (K)", "n", "Difference", "Verdict"] in heads(shown, 5)
    assert "| issm | 57 | 5 of 5 | −3 | helps |" in shown


def test_classes_are_what_the_tests_report() -> None:
    (part,) = findings(two(shifted(*HIGHER))).breakdowns
    assert part.rows == CLASSES[:-1]
