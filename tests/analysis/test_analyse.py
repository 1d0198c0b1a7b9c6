"""The findings of a study: differences, verdicts, claims and answers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from math import ceil, sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from support.evidence import FOLDS, REFERENCE, UAR, WAR, evidence, run_result, shifted, two, variant

from study.analysis.analyse import findings
from study.analysis.evidence import Confirmation, Evidence
from study.analysis.findings import Cost, Difference, Findings, LimitCode
from study.ledger.record import ClaimRecord as Claim
from study.records import PartCost

CLEAR = shifted(3.0, 2.5, 3.5, 2.8, 3.2)
WORSE = shifted(-3.0, -2.5, -3.5, -2.8, -3.2)
SAME = shifted(0.1, -0.2, 0.2, 0.0, -0.1)
SMALL = shifted(0.8, 0.5, 1.1, 0.7, 0.9)
UNCLEAR = shifted(2.6, -0.9, 1.6, -0.4, 1.1)


def only(found: Findings) -> Difference:
    (difference,) = [v.difference for v in found.variants if not v.is_reference]
    assert difference is not None
    return difference


def codes(found: Findings) -> set[LimitCode]:
    return {limit.code for limit in found.limits}


@pytest.mark.parametrize(
    ("scores", "verdict", "claim", "answer"),
    [
        (
            CLEAR,
            "helps",
            "supported",
            "Yes, issm helps: with 5 repetitions it scores 63.0 against 60.0 WAR "
            "(+3.0 points, 95 % interval 2.5 to 3.5).",
        ),
        (
            WORSE,
            "hurts",
            "refuted",
            "No, issm hurts: with 5 repetitions it scores 57.0 against 60.0 WAR "
            "(−3.0 points, 95 % interval −3.5 to −2.5).",
        ),
        (
            SAME,
            "equivalent",
            "refuted",
            "No, issm is practically equivalent to even-odd: with 5 repetitions it scores 60.0 against 60.0 WAR "
            "(0.0 points, 90 % interval −0.2 to 0.2, all within ±1.0).",
        ),
        (
            SMALL,
            "small",
            "refuted",
            "No, issm is better, but by an estimate below the 1.0 points that matter: with 5 repetitions it scores "
            "60.8 against 60.0 WAR (+0.8 points, 95 % interval 0.5 to 1.1).",
        ),
        (
            UNCLEAR,
            "inconclusive",
            "undecided",
            "Undecided: with 5 repetitions, issm scores 60.8 against 60.0 WAR "
            "(+0.8 points, 95 % interval −1.0 to 2.6); about 28 repetitions would resolve it.",
        ),
    ],
)
def test_the_answer_says_the_verdict(scores: list[float], verdict: str, claim: str, answer: str) -> None:
    found = findings(two(scores))
    assert only(found).verdict == verdict
    assert found.claims[0].verdict == claim
    assert found.claims[0].reason == only(found).sentence
    assert found.answer == answer


def test_repetitions_needed_agree_with_statsmodels() -> None:
    differences = np.subtract(UNCLEAR, REFERENCE)
    effect = differences.mean() / differences.std(ddof=1)
    needed = TTestPower().solve_power(effect, alpha=0.05, power=0.8)
    assert only(findings(two(UNCLEAR))).repetitions_needed == ceil(needed) == 28


def test_figures_of_a_difference_agree_with_scipy() -> None:
    difference = only(findings(two(UNCLEAR)))
    expected = stats.ttest_rel(UNCLEAR, REFERENCE)
    interval = expected.confidence_interval(0.95)
    assert (difference.interval.low, difference.interval.high) == pytest.approx((interval.low, interval.high))
    assert difference.corrected == difference.interval
    assert difference.p == difference.p_holm == pytest.approx(expected.pvalue)
    assert difference.correlation == pytest.approx(stats.pearsonr(UNCLEAR, REFERENCE).statistic)
    assert (difference.n, difference.wins) == (5, 3.0)
    scale = np.subtract(UNCLEAR, REFERENCE).std(ddof=1) / sqrt(5)
    assert difference.p_better == pytest.approx(stats.t(4, 0.8, scale).sf(1.0))


def test_everything_is_in_points() -> None:
    found = findings(two(CLEAR)).variants[1]
    assert found.score is not None
    assert found.score.mean == pytest.approx(63.0)
    assert found.secondary["uar"].mean == pytest.approx(59.0)
    assert list(found.secondary) == ["uar"]
    assert list(found.breakdowns["class"]) == ["happy", "sad", "neutral"]
    assert found.breakdowns["class"]["sad"].mean == pytest.approx(63.0)
    assert found.repetitions[0].score == pytest.approx(63.0)
    assert found.repetitions[0].metrics["loss"] == 0.9
    assert found.repetitions[0].validation == pytest.approx(70.0)
    assert found.curves[0].validation == pytest.approx((65.0, 70.0, 69.0))
    assert (found.parameters, found.macs, found.train_seconds) == (1000, 5000, 10.0)


def test_the_other_metric_can_be_primary() -> None:
    found = findings(two(CLEAR, metric=UAR, metrics=(UAR, WAR)))
    assert found.variants[1].score is not None
    assert found.variants[1].score.mean == pytest.approx(59.0)
    assert "war" in found.variants[1].secondary
    assert "59.0 against 56.0 UAR" in found.answer


def test_a_failed_repetition_takes_the_verdict_away() -> None:
    found = findings(two([*CLEAR[:4], None]))
    issm = found.variants[1]
    assert issm.difference is None
    assert (len(issm.repetitions), issm.planned, issm.failures) == (4, 5, ("repetition 4: out of memory",))
    assert found.claims[0].verdict == "undecided"
    assert found.answer == "No verdict on issm: issm has results for 4 of its 5 confirmation runs."
    assert found.limits[0].code == LimitCode.MISSING_RUNS
    assert found.limits[0].sentence.startswith("issm has results for 4 of its 5 confirmation runs")


def test_a_failed_repetition_of_the_reference_takes_every_verdict_away() -> None:
    reference = variant("even-odd", [*REFERENCE[:4], None], reference=True)
    found = findings(evidence(reference, variant("issm", CLEAR), variant("haar", SAME)))
    assert [v.difference for v in found.variants] == [None, None, None]
    assert "the reference even-odd has results for 4 of its 5" in found.answer
    assert found.limits[0].code == LimitCode.MISSING_RUNS


def test_a_diverged_confirmation_is_a_failure() -> None:
    study = two(CLEAR)
    issm = study.variants[1]
    broken = Confirmation(4, None, "r1-x", run_result("r1-x", status="diverged"))
    issm = replace(issm, confirmations=(*issm.confirmations[:4], broken))
    found = findings(replace(study, variants=(study.variants[0], issm)))
    assert found.variants[1].failures == ("repetition 4: training diverged",)
    assert found.variants[1].difference is None
    assert len(found.variants[1].curves) == 4


def test_a_search_without_any_result_leaves_runs_not_started() -> None:
    study = two(CLEAR)
    issm = replace(study.variants[1], confirmations=(), chosen={})
    found = findings(replace(study, variants=(study.variants[0], issm)))
    assert found.variants[1].score is None
    assert found.variants[1].train_seconds is None
    assert found.variants[1].failures == ("5 confirmation runs not started: the search has chosen nothing",)
    assert "issm has results for none of its 5 confirmation runs" in found.answer


def test_unfinished_studies_say_what_is_missing() -> None:
    study = two(CLEAR)
    trained = replace(study.variants[1].confirmations[0], test=None)
    new = Confirmation(1, None, "r1-new")
    issm = replace(study.variants[1], confirmations=(trained, new, *study.variants[1].confirmations[2:]))
    found = findings(replace(study, variants=(study.variants[0], issm)))
    assert found.variants[1].failures == ("repetition 0: not tested yet", "repetition 1: not trained yet")


def test_one_repetition_gives_figures_and_no_verdict() -> None:
    found = findings(two([61.0], [60.0]))
    difference = only(found)
    assert (difference.interval.mean, difference.interval.low, difference.p) == (1.0, None, None)
    assert (difference.p_worse, difference.repetitions_needed, difference.verdict) == (
        None,
        None,
        "inconclusive",
    )
    assert found.answer == (
        "Undecided: with 1 repetition, issm scores 61.0 against 60.0 WAR (+1.0 points); "
        "one difference has no interval and decides nothing."
    )
    assert LimitCode.SINGLE_REPETITION in codes(found)


def test_identical_arms_decide_nothing_with_few_repetitions_and_are_suspicious() -> None:
    found = findings(two(REFERENCE))
    assert only(found).verdict == "inconclusive"
    assert LimitCode.EQUAL_DIFFERENCES in codes(found)
    assert "about 6 repetitions would resolve it" in found.answer, "2 / 2**6 is below 0.05"


def test_equal_differences_of_few_repetitions_decide_nothing() -> None:
    found = findings(two(shifted(2.0, 2.0, 2.0, 2.0, 2.0)))
    assert only(found).verdict == "inconclusive"
    assert "every repetition shows the same difference" in found.answer
    assert "about 6 repetitions would resolve it" in found.answer


def test_several_variants_share_one_corrected_family() -> None:
    reference = variant("even-odd", REFERENCE, reference=True)
    arms = {"issm": CLEAR, "haar": WORSE, "gru": SAME, "conv": UNCLEAR}
    found = findings(evidence(reference, *(variant(name, scores) for name, scores in arms.items())))
    assert found.comparisons == 4
    p_values = [stats.ttest_rel(scores, REFERENCE).pvalue for scores in arms.values()]
    differences = [v.difference for v in found.variants[1:]]
    assert [d and d.p_holm for d in differences] == pytest.approx(multipletests(p_values, method="holm")[1])
    wide = stats.ttest_rel(CLEAR, REFERENCE).confidence_interval(1 - 0.05 / 4)
    assert differences[0] is not None
    assert (differences[0].corrected.low, differences[0].corrected.high) == pytest.approx(
        (wide.low, wide.high)
    )
    assert "98.8 % interval" in differences[0].sentence
    assert found.answer == (
        "Against even-odd, in points of WAR with 5 repetitions: issm (+3.0) helps; haar (−3.0) hurts; "
        "gru (0.0) is practically equivalent; undecided: conv (+0.8)."
    )


def test_a_failed_variant_still_counts_in_the_family() -> None:
    reference = variant("even-odd", REFERENCE, reference=True)
    broken = variant("haar", [None] * 5)
    found = findings(evidence(reference, variant("issm", CLEAR), broken, claims=(Claim("haar", "even-odd"),)))
    difference = found.variants[1].difference
    assert difference is not None
    assert difference.p is not None
    assert difference.p_holm == pytest.approx(2 * difference.p)
    assert found.answer.endswith("No verdict on haar: haar has results for none of its 5 confirmation runs.")
    assert found.claims[0].verdict == "undecided"


def test_what_was_searched_is_conditional_on_the_search() -> None:
    arms = (
        variant("even-odd", REFERENCE, reference=True, trials=[60, 70]),
        variant("issm", CLEAR, trials=[60, 70]),
    )
    assert findings(evidence(*arms)).answer.endswith("interval 2.5 to 3.5), with the hyperparameters found.")


def test_repetitions_of_a_fold_are_averaged_before_folds_are_compared() -> None:
    rng = np.random.default_rng(2)
    reference = rng.normal(60, 2, (5, 3)).round(1)
    scores = reference + rng.normal(1.5, 1, (5, 3)).round(1)
    arms = (
        variant("even-odd", reference.ravel().tolist(), reference=True, folds=5),
        variant("issm", scores.ravel().tolist(), folds=5),
    )
    found = findings(evidence(*arms, folds=FOLDS))
    per_fold = (scores - reference).mean(axis=1)
    t = per_fold.mean() / sqrt((1 / 5 + 100 / 400) * per_fold.var(ddof=1))
    difference = only(found)
    assert difference.n == 5
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-6)
    assert len(found.variants[1].repetitions) == 15
    assert "over 5 folds" in found.answer
    if difference.verdict == "inconclusive":
        assert "the number of folds limits this" in found.answer
        assert difference.repetitions_needed is None


def test_trials_show_the_best_so_far() -> None:
    arms = (
        variant("even-odd", REFERENCE, reference=True, trials=["diverged", 60.0, "failed", 55.0, 65.0]),
        variant("issm", CLEAR),
    )
    trials = findings(evidence(*arms)).variants[0].trials
    assert [trial.status for trial in trials] == ["diverged", "finished", "failed", "finished", "finished"]
    assert [trial.score for trial in trials] == [None, 60.0, None, pytest.approx(55.0), 65.0]
    assert [trial.best_so_far for trial in trials] == [None, 60.0, 60.0, 60.0, 65.0]
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "study",
    [
        two(CLEAR),
        two([61.0], [60.0]),
        two(REFERENCE),
        two([None] * 5),
        two([0.0] * 5, [0.0] * 5),
        two([], []),
    ],
)
def test_findings_never_hold_what_json_cannot(study: Evidence) -> None:
    json.dumps(asdict(findings(study)), allow_nan=False)


def test_whole_studies_without_any_difference_raise_no_more_false_alarms_than_alpha() -> None:
    studies, wrong = 200, 0
    rng = np.random.default_rng(4)
    for _ in range(studies):
        arms = rng.normal(60, 1, (4, 4)) + rng.normal(0, 1, 4)
        reference = variant("even-odd", arms[0].tolist(), reference=True)
        others = [variant(f"v{index}", scores.tolist()) for index, scores in enumerate(arms[1:])]
        found = findings(evidence(reference, *others, rope=0.2))
        verdicts = {v.difference.verdict for v in found.variants if v.difference is not None}
        wrong += bool(verdicts & {"helps", "hurts"})
    assert wrong / studies <= 0.05 + 3 * sqrt(0.05 * 0.95 / studies)


def test_a_cost_that_the_counters_disagree_on_is_called_uncertain() -> None:
    study = two(SAME)
    profile = study.variants[1].profile
    assert profile is not None
    doubtful = replace(profile, macs=1000, flops=2200, unused=7, unused_tensors=("splitter.bias",))
    arms = (study.variants[0], replace(study.variants[1], profile=doubtful))
    notes = "\n".join(findings(replace(study, variants=arms)).notes)
    assert "The cost of issm is uncertain: torch's counter finds 10 % more operations" in notes
    assert "7 of the" in notes
    assert "parameters of issm get no gradient: splitter.bias." in notes
    assert "uncertain" not in "\n".join(findings(study).notes)


def test_a_cost_is_what_the_profile_counted() -> None:
    study = two(SAME)
    reference, other = study.variants
    assert reference.profile is not None
    parts = (PartCost("backbone", 900, 4000), PartCost("splitter", 100, 1000))
    counted = replace(reference.profile, unused=7, flops=10_500, activation_bytes=2**20, parts=parts)
    arms = (replace(reference, profile=counted), replace(other, profile=None))
    known, unknown = findings(replace(study, variants=arms)).variants
    assert known.macs == 5000
    assert known.cost is not None
    assert known.cost.flops_share == pytest.approx(105.0)
    assert replace(known.cost, flops_share=None) == Cost((1, 1, 16, 32, 32), 7, 10_500, None, 2**20, parts)
    assert unknown.cost is None
    assert findings(study).variants[0].cost == Cost((1, 1, 16, 32, 32))


def test_strata_are_compared_inside_themselves() -> None:
    low, high = two(SAME).variants
    arms = (
        replace(low, name="even-odd, d=1", reference="even-odd, d=1"),
        replace(high, name="issm, d=1", reference="even-odd, d=1"),
        variant("even-odd, d=2", tuple(s - 20 for s in REFERENCE), reference=True),
        replace(variant("issm, d=2", tuple(s - 20 for s in REFERENCE)), reference="even-odd, d=2"),
    )
    found = findings(replace(two(SAME), variants=arms, claims=()))
    assert found.comparisons == 2
    differences = {v.name: v.difference for v in found.variants if v.difference is not None}
    assert set(differences) == {"issm, d=1", "issm, d=2"}
    assert differences["issm, d=2"].interval.mean == pytest.approx(0.0)
    assert "Against the reference of each stratum" in found.answer


def test_a_claim_that_the_reference_is_better_is_supported_where_the_variant_hurts() -> None:
    worse = replace(two(shifted(-8.0, -7.5, -8.5, -8.2, -7.8)), claims=(Claim("even-odd", "issm"),))
    assert findings(worse).claims[0].verdict == "supported"
    better = replace(two(shifted(8.0, 7.5, 8.5, 8.2, 7.8)), claims=(Claim("even-odd", "issm"),))
    assert findings(better).claims[0].verdict == "refuted"
