"""The findings of a study: differences, verdicts, claims and answers."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from math import ceil, sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from support.evidence import FOLDS, REFERENCE, UAR, WAR, evidence, run_result, shifted, two, variant

from study.analysis.analyse import MissingCode, findings, missing_runs
from study.analysis.evidence import Confirmation, Evidence
from study.analysis.findings import Cost, Difference, Findings, LimitCode
from study.analysis.notes import NoteCode, notes
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


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a sentence with their signs, in order."""
    return re.findall(r"[+−]?\d+(?:\.\d+)?", text)


def codes(found: Findings) -> set[LimitCode]:
    return {limit.code for limit in found.limits}


@pytest.mark.parametrize(
    ("scores", "verdict", "claim", "words", "numbers"),
    [
        (
            CLEAR,
            "helps",
            "supported",
            ("Yes, ", "issm helps"),
            ["5", "63.0", "60.0", "+3.0", "95", "2.5", "3.5"],
        ),
        (
            WORSE,
            "hurts",
            "refuted",
            ("No, ", "issm hurts"),
            ["5", "57.0", "60.0", "−3.0", "95", "−3.5", "−2.5"],
        ),
        (
            SAME,
            "equivalent",
            "refuted",
            ("No, ", "equivalent to even-odd"),
            ["5", "60.0", "60.0", "0.0", "90", "−0.2", "0.2", "1.0"],
        ),
        (
            SMALL,
            "small",
            "refuted",
            ("No, ", "issm is better"),
            ["1.0", "5", "60.8", "60.0", "+0.8", "95", "0.5", "1.1"],
        ),
        (
            UNCLEAR,
            "inconclusive",
            "undecided",
            ("Undecided", "28 repetitions"),
            ["5", "60.8", "60.0", "+0.8", "95", "−1.0", "2.6", "28"],
        ),
    ],
)
def test_the_answer_says_the_verdict_and_its_numbers(
    scores: list[float], verdict: str, claim: str, words: tuple[str, str], numbers: list[str]
) -> None:
    found = findings(two(scores))
    assert only(found).verdict == verdict
    assert found.claims[0].verdict == claim
    assert found.claims[0].reason == only(found).sentence
    start, phrase = words
    assert found.answer.startswith(start)
    assert phrase in found.answer
    assert numbers_in(found.answer) == numbers
    assert "60.0 WAR" in found.answer
    assert re.search(r"\([+−]?\d\.\d points, ", found.answer)


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
    assert numbers_in(found.answer)[1:3] == ["59.0", "56.0"]
    assert "UAR" in found.answer
    assert "WAR" not in found.answer


def test_a_failed_repetition_takes_the_verdict_away() -> None:
    study = two([*CLEAR[:4], None])
    found = findings(study)
    issm = found.variants[1]
    assert issm.difference is None
    assert (len(issm.repetitions), issm.planned) == (4, 5)
    (missing,) = missing_runs(study.variants[1])
    assert (missing.code, missing.fold, missing.repetition) == (MissingCode.FAILED, None, 4)
    assert issm.failures == (missing.sentence,)
    assert missing.sentence.endswith("out of memory")
    assert found.claims[0].verdict == "undecided"
    assert "No verdict" in found.answer
    assert found.limits[0].code == LimitCode.MISSING_RUNS
    for sentence in (found.answer, found.limits[0].sentence):
        assert "issm" in sentence
        assert numbers_in(sentence)[:2] == ["4", "5"]


def test_a_failed_repetition_of_the_reference_takes_every_verdict_away() -> None:
    reference = variant("even-odd", [*REFERENCE[:4], None], reference=True)
    found = findings(evidence(reference, variant("issm", CLEAR), variant("haar", SAME)))
    assert [v.difference for v in found.variants] == [None, None, None]
    assert found.answer.count("reference even-odd") == 2, "it is the reason for both variants"
    assert numbers_in(found.answer) == ["4", "5"] * 2
    assert found.limits[0].code == LimitCode.MISSING_RUNS


def test_a_diverged_confirmation_is_a_failure() -> None:
    study = two(CLEAR)
    issm = study.variants[1]
    broken = Confirmation(4, None, "r1-x", run_result("r1-x", status="diverged"))
    issm = replace(issm, confirmations=(*issm.confirmations[:4], broken))
    found = findings(replace(study, variants=(study.variants[0], issm)))
    assert [(run.code, run.repetition) for run in missing_runs(issm)] == [(MissingCode.DIVERGED, 4)]
    assert len(found.variants[1].failures) == 1
    assert found.variants[1].difference is None
    assert len(found.variants[1].curves) == 4


def test_a_search_without_any_result_leaves_runs_not_started() -> None:
    study = two(CLEAR)
    issm = replace(study.variants[1], confirmations=(), chosen={})
    found = findings(replace(study, variants=(study.variants[0], issm)))
    assert found.variants[1].score is None
    assert found.variants[1].train_seconds is None
    (missing,) = missing_runs(issm)
    assert (missing.code, missing.repetition) == (MissingCode.NOT_STARTED, None)
    assert numbers_in(missing.sentence) == ["5"]
    assert found.variants[1].failures == (missing.sentence,)
    assert "on issm" in found.answer
    assert numbers_in(found.answer) == ["5"], "the 5 that were planned, none of them done"


def test_unfinished_studies_say_what_is_missing() -> None:
    study = two(CLEAR)
    trained = replace(study.variants[1].confirmations[0], test=None)
    new = Confirmation(1, None, "r1-new")
    issm = replace(study.variants[1], confirmations=(trained, new, *study.variants[1].confirmations[2:]))
    assert [(run.code, run.repetition) for run in missing_runs(issm)] == [
        (MissingCode.NOT_TESTED, 0),
        (MissingCode.NOT_TRAINED, 1),
    ]


def test_one_repetition_gives_figures_and_no_verdict() -> None:
    found = findings(two([61.0], [60.0]))
    difference = only(found)
    assert (difference.interval.mean, difference.interval.low, difference.p) == (1.0, None, None)
    assert (difference.p_worse, difference.repetitions_needed, difference.verdict) == (
        None,
        None,
        "inconclusive",
    )
    assert found.answer.startswith("Undecided")
    assert numbers_in(found.answer) == ["1", "61.0", "60.0", "+1.0"], "without an interval"
    assert LimitCode.SINGLE_REPETITION in codes(found)


def test_identical_arms_decide_nothing_with_few_repetitions_and_are_suspicious() -> None:
    found = findings(two(REFERENCE))
    assert only(found).verdict == "inconclusive"
    assert LimitCode.EQUAL_DIFFERENCES in codes(found)
    assert only(found).repetitions_needed == 6, "2 / 2**6 is below 0.05"


def test_equal_differences_of_few_repetitions_decide_nothing() -> None:
    found = findings(two(shifted(2.0, 2.0, 2.0, 2.0, 2.0)))
    assert only(found).verdict == "inconclusive"
    assert "the same difference" in found.answer
    assert only(found).repetitions_needed == 6
    assert numbers_in(found.answer)[-1] == "6"


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
    assert [d and d.verdict for d in differences] == ["helps", "hurts", "equivalent", "inconclusive"]
    assert re.findall(r"(\w+) \(([+−]?[\d.]+)\)", found.answer) == [
        ("issm", "+3.0"),
        ("haar", "−3.0"),
        ("gru", "0.0"),
        ("conv", "+0.8"),
    ]
    for phrase in (
        "even-odd",
        "points of WAR",
        "5 repetitions",
        ") helps",
        ") hurts",
        "equivalent; undecided",
    ):
        assert phrase in found.answer


def test_a_failed_variant_still_counts_in_the_family() -> None:
    reference = variant("even-odd", REFERENCE, reference=True)
    broken = variant("haar", [None] * 5)
    found = findings(evidence(reference, variant("issm", CLEAR), broken, claims=(Claim("haar", "even-odd"),)))
    difference = found.variants[1].difference
    assert difference is not None
    assert difference.p is not None
    assert difference.p_holm == pytest.approx(2 * difference.p)
    assert [variant.difference is None for variant in found.variants] == [True, False, True]
    assert "verdict on haar" in found.answer
    assert "verdict on issm" not in found.answer
    assert found.claims[0].verdict == "undecided"


def test_what_was_searched_is_conditional_on_the_search() -> None:
    arms = (
        variant("even-odd", REFERENCE, reference=True, trials=[60, 70]),
        variant("issm", CLEAR, trials=[60, 70]),
    )
    assert "hyperparameters found" in findings(evidence(*arms)).answer
    assert "hyperparameters" not in findings(two(CLEAR)).answer


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
        assert "number of folds" in found.answer
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
    found = {note.code: note.sentence for note in notes(replace(study, variants=arms))}
    assert numbers_in(found[NoteCode.DOUBTFUL_COST]) == ["10"]
    assert "10 % more" in found[NoteCode.DOUBTFUL_COST]
    assert numbers_in(found[NoteCode.UNUSED_PARAMETERS]) == ["7", str(doubtful.parameters)]
    assert "splitter.bias" in found[NoteCode.UNUSED_PARAMETERS]
    assert all("of issm" in found[code] for code in (NoteCode.DOUBTFUL_COST, NoteCode.UNUSED_PARAMETERS))
    assert findings(replace(study, variants=arms)).notes == tuple(found.values())
    assert not {NoteCode.DOUBTFUL_COST, NoteCode.UNUSED_PARAMETERS} & {note.code for note in notes(study)}


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
    assert "each stratum" in found.answer


def test_a_claim_that_the_reference_is_better_is_supported_where_the_variant_hurts() -> None:
    worse = replace(two(shifted(-8.0, -7.5, -8.5, -8.2, -7.8)), claims=(Claim("even-odd", "issm"),))
    assert findings(worse).claims[0].verdict == "supported"
    better = replace(two(shifted(8.0, 7.5, 8.5, 8.2, 7.8)), claims=(Claim("even-odd", "issm"),))
    assert findings(better).claims[0].verdict == "refuted"
