"""The findings of a study: differences, verdicts, claims and answers."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from support.evidence import FOLDS, REFERENCE, UAR, WAR, evidence, run_result, shifted, two, variant

from study.analysis.analyse import MissingCode, findings, missing_runs
from study.analysis.described import Cost
from study.analysis.evidence import Evidence, RepetitionEvidence, Scope, SearchSettings
from study.analysis.findings import Difference, Findings, LimitCode
from study.analysis.sentences.notes import NoteCode, notes
from study.ledger.record import ClaimRecord as Claim
from study.records import PartCost
from study.statistics.spread import Spread

CLEAR = shifted(3.0, 2.5, 3.5, 2.8, 3.2)
WORSE = shifted(-3.0, -2.5, -3.5, -2.8, -3.2)
SAME = shifted(0.1, -0.2, 0.2, 0.0, -0.1)
SMALL = shifted(0.8, 0.5, 1.1, 0.7, 0.9)
SMALLER = shifted(0.7, 0.4, 0.99, 0.6, 0.8)
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
            ("Yes, ", "issm helps by at least"),
            ["1.0", "5", "63.0", "60.0", "+3.0", "95", "2.5", "3.5"],
        ),
        (
            WORSE,
            "hurts",
            "refuted",
            ("No, ", "issm hurts by at least"),
            ["1.0", "5", "57.0", "60.0", "−3.0", "95", "−3.5", "−2.5"],
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
            "slight",
            "undecided",
            ("issm is slightly better", "that matter"),
            ["1.0", "5", "60.8", "60.0", "+0.8", "95", "0.5", "1.1"],
        ),
        (
            SMALLER,
            "equivalent",
            "better-by-less",
            ("Yes, but by less than", "equivalent to even-odd, better by less than"),
            ["1.0", "1.0", "5", "60.7", "60.0", "+0.7", "90", "0.5", "0.9", "1.0"],
        ),
        (
            UNCLEAR,
            "inconclusive",
            "undecided",
            ("Undecided", "on these test clips."),
            ["5", "60.8", "60.0", "+0.8", "95", "−1.0", "2.6"],
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
    assert numbers_in(found.answer)[2:4] == ["59.0", "56.0"]
    assert "UAR" in found.answer
    assert "WAR" not in found.answer


def test_a_failed_repetition_leaves_the_complete_pairs() -> None:
    study = two([*CLEAR[:4], None])
    found = findings(study)
    issm = found.variants[1]
    expected = stats.ttest_rel(CLEAR[:4], REFERENCE[:4]).confidence_interval(0.95)
    assert (only(found).interval.low, only(found).interval.high) == pytest.approx(
        (expected.low, expected.high)
    )
    assert (only(found).n, only(found).missing, only(found).verdict) == (4, 1, "helps")
    assert (len(issm.repetitions), issm.planned) == (4, 5)
    (missing,) = missing_runs(study.variants[1])
    assert (missing.code, missing.fold, missing.repetition) == (MissingCode.FAILED, None, 4)
    assert issm.failures == (missing.sentence,)
    assert missing.sentence.endswith("out of memory")
    assert found.claims[0].verdict == "supported"
    assert "1 failed pair left out" in found.answer
    assert found.limits[0].code == LimitCode.MISSING_RUNS
    assert numbers_in(found.limits[0].sentence)[:2] == ["4", "5"]


def test_a_failed_repetition_of_the_reference_is_missing_in_every_comparison() -> None:
    reference = variant("even-odd", [*REFERENCE[:4], None], reference=True)
    found = findings(evidence(reference, variant("issm", CLEAR), variant("haar", SAME)))
    assert [v.difference and v.difference.n for v in found.variants] == [None, 4, 4]
    assert found.limits[0].code == LimitCode.MISSING_RUNS


def test_a_repetition_whose_search_failed_is_missing_with_its_pair() -> None:
    study = two(CLEAR)
    issm = replace(study.variants[1], repetitions=study.variants[1].repetitions[1:])
    arms = (study.variants[0], issm)
    assert findings(replace(study, variants=arms)).variants[1].difference is None, "it may still start"
    failed = (study.variants[0], replace(issm, unreachable=1))
    found = findings(replace(study, variants=failed))
    assert (only(found).n, only(found).missing, only(found).verdict) == (4, 1, "helps")


def test_a_study_that_has_not_ended_gets_no_verdict() -> None:
    study = two(CLEAR)
    waiting = replace(study.variants[1].repetitions[4], result=None, test=None)
    issm = replace(study.variants[1], repetitions=(*study.variants[1].repetitions[:4], waiting))
    found = findings(replace(study, variants=(study.variants[0], issm)))
    assert found.variants[1].difference is None
    assert found.claims[0].verdict == "undecided"
    assert "No verdict" in found.answer
    assert numbers_in(found.answer)[:2] == ["4", "5"]


def with_diverged(study: Evidence) -> Evidence:
    """Return the study with its variant's last repetition diverged."""
    issm = study.variants[1]
    broken = RepetitionEvidence(4, None, "r1-x", run_result("r1-x", status="diverged"))
    return replace(
        study, variants=(study.variants[0], replace(issm, repetitions=(*issm.repetitions[:4], broken)))
    )


def test_a_diverged_repetition_scores_the_worst_value() -> None:
    study = with_diverged(two(WORSE))
    found = findings(study)
    issm = found.variants[1]
    assert [(run.code, run.repetition) for run in missing_runs(study.variants[1])] == [
        (MissingCode.DIVERGED, 4)
    ]
    assert [(run.score, run.diverged) for run in issm.repetitions[3:]] == [
        (pytest.approx(WORSE[3]), False),
        (0, True),
    ]
    expected = stats.ttest_rel([*WORSE[:4], 0.0], REFERENCE)
    assert (only(found).n, only(found).diverged) == (5, 1)
    assert only(found).p == pytest.approx(expected.pvalue)
    assert issm.score is not None
    assert issm.score.mean == pytest.approx(np.mean([*WORSE[:4], 0.0]))
    assert "1 of 5 diverged" in found.answer
    assert LimitCode.DIVERGED_RUNS in codes(found)
    assert len(issm.curves) == 4


def test_a_variant_far_below_gets_its_verdict_though_a_repetition_diverged() -> None:
    low = [4.0, 5.0, 3.0, 4.5, 3.5]
    assert only(findings(with_diverged(two(low)))).verdict == "hurts"


def test_a_diverged_repetition_excludes_a_verdict_where_the_metric_has_no_worst_value() -> None:
    study = with_diverged(two(WORSE))
    unbounded = replace(WAR, low=None)
    found = findings(replace(study, metric=unbounded, metrics=(unbounded,)))
    assert found.variants[1].difference is None
    assert "no worst value" in found.answer


def test_a_search_without_any_result_leaves_runs_not_started() -> None:
    study = two(CLEAR)
    issm = replace(study.variants[1], repetitions=(), chosen=())
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
    trained = replace(study.variants[1].repetitions[0], test=None)
    new = RepetitionEvidence(1, None, "r1-new")
    issm = replace(study.variants[1], repetitions=(trained, new, *study.variants[1].repetitions[2:]))
    assert [(run.code, run.repetition) for run in missing_runs(issm)] == [
        (MissingCode.NOT_TESTED, 0),
        (MissingCode.NOT_TRAINED, 1),
    ]


def test_one_repetition_gives_figures_and_no_verdict() -> None:
    found = findings(two([61.0], [60.0]))
    difference = only(found)
    assert (difference.interval.mean, difference.interval.low, difference.p) == (1.0, None, None)
    assert (difference.p_worse, difference.verdict) == (None, None)
    assert found.variants[1].verdict_text == "too few repetitions"
    assert found.claims[0].verdict == "undecided"
    assert numbers_in(found.answer) == ["3", "1", "61.0", "60.0", "+1.0", "+1.0"], "without an interval"
    assert LimitCode.TOO_FEW_REPETITIONS in codes(found)


def test_two_repetitions_print_their_values_and_no_verdict() -> None:
    found = findings(two([63.0, 64.1], [60.0, 61.0]))
    assert only(found).verdict is None
    assert only(found).values == pytest.approx((3.0, 3.1))
    assert numbers_in(found.answer)[-2:] == ["+3.0", "+3.1"]


def test_intervals_stay_inside_what_the_metric_can_be() -> None:
    found = findings(two([99.0, 90.0, 99.5], [1.0, 0.5, 9.0]))
    assert only(found).interval.high == 100
    score = found.variants[1].score
    assert score is not None
    assert (score.high, found.variants[0].score and found.variants[0].score.low) == (100, 0)


def test_a_level_near_100_percent_is_printed_as_what_it_is() -> None:
    arms = [variant(f"v{number}", CLEAR) for number in range(60)]
    found = findings(evidence(variant("even-odd", REFERENCE, reference=True), *arms, alpha=0.01))
    difference = found.variants[1].difference
    assert difference is not None
    assert "99.98 % interval" in difference.sentence, "1 - 0.01 / 60 = 0.99983"


def test_effect_and_correlation_have_intervals_from_five_repetitions_on() -> None:
    difference = only(findings(two(UNCLEAR)))
    bounds = stats.pearsonr(UNCLEAR, REFERENCE).confidence_interval()
    assert difference.correlation_interval is not None
    assert (difference.correlation_interval.low, difference.correlation_interval.high) == pytest.approx(
        tuple(bounds)
    )
    assert difference.effect_interval is not None
    assert only(findings(two(UNCLEAR[:4], REFERENCE[:4]))).effect_interval is None


def with_replicates(study: Evidence, effects: np.ndarray, scope: Scope) -> Evidence:
    """Return the study with clips of given effects on the variant, in points, the same in every repetition."""
    left_out = (effects.sum() - effects) / (len(effects) - 1) - effects.mean()
    arms = []
    for arm, factor in zip(study.variants, (0.0, 1.0), strict=True):
        runs = tuple(
            replace(
                run,
                replicates=tuple(run.test.metrics["war"] + factor * left_out / 100) if run.test else None,
                sources="same",
            )
            for run in arm.repetitions
        )
        arms.append(replace(arm, repetitions=runs))
    return replace(study, variants=tuple(arms), scope=scope)


def test_the_population_interval_holds_the_luck_of_the_clips() -> None:
    effects = np.random.default_rng(1).normal(0, 20, 200)
    study = with_replicates(two(CLEAR), effects, "population")
    found = findings(study)
    differences = np.subtract(CLEAR, REFERENCE)
    a, c = differences.var(ddof=1) / 5, effects.var(ddof=1) / 200
    df = (a + c) ** 2 / (a**2 / 4 + c**2 / 199)
    half = stats.t.ppf(0.975, df) * sqrt(a + c)
    assert (only(found).interval.low, only(found).interval.high) == pytest.approx((3 - half, 3 + half))
    assert only(found).p == pytest.approx(2 * stats.t.sf(3 / sqrt(a + c), df))
    alone = stats.ttest_1samp(differences, 0).confidence_interval()
    assert only(found).other is not None
    assert (only(found).other.low, only(found).other.high) == pytest.approx((alone.low, alone.high))
    assert "test clips" not in found.answer

    exact = findings(replace(study, scope="test-set"))
    assert only(exact).interval == only(found).other
    assert only(exact).other == only(found).interval
    assert exact.answer.endswith("on these test clips.")


def test_other_sources_cannot_be_paired() -> None:
    study = with_replicates(two(CLEAR), np.arange(10.0), "population")
    other = replace(
        study.variants[1],
        repetitions=tuple(replace(run, sources="other") for run in study.variants[1].repetitions),
    )
    assert only(findings(replace(study, variants=(study.variants[0], other)))).other is None


def test_a_named_population_without_predictions_gets_no_verdict() -> None:
    found = findings(two(CLEAR, scope="population", lacks_predictions=True))
    assert found.variants[1].difference is None
    assert LimitCode.NO_PREDICTIONS in codes(found)
    assert found.claims[0].verdict == "undecided"


def test_power_is_printed_from_a_spread_that_was_known_before() -> None:
    assert findings(two(UNCLEAR)).power is None, "no power from a study's own results"
    power = findings(two(UNCLEAR, spread=Spread(1.2, 8, origin="pilot"))).power
    assert power is not None
    assert power.effects == (1.0, 1.5, 2.0)
    assert [row.design for row in power.rows] == [(3,), (5,), (8,), (12,), (20,)]
    assert power.interval is not None
    assert power.interval.low == pytest.approx(1.2 * sqrt(8 / stats.chi2.ppf(0.975, 8)))


def test_identical_arms_decide_nothing_with_few_repetitions_and_are_suspicious() -> None:
    found = findings(two(REFERENCE))
    assert only(found).verdict == "inconclusive"
    assert LimitCode.EQUAL_DIFFERENCES in codes(found)
    assert "identical in every repetition" in found.answer


def test_equal_differences_of_few_repetitions_decide_nothing() -> None:
    found = findings(two(shifted(2.0, 2.0, 2.0, 2.0, 2.0)))
    assert only(found).verdict == "inconclusive"
    assert "the same difference" in found.answer


def test_several_variants_share_one_corrected_family() -> None:
    reference = variant("even-odd", REFERENCE, reference=True)
    arms = {"issm": CLEAR, "haar": WORSE, "gru": SAME, "conv": UNCLEAR}
    found = findings(evidence(reference, *(variant(name, scores) for name, scores in arms.items())))
    assert found.comparisons == 4
    # limma's moderated t with a fixed prior of 3 degrees of freedom at the mean variance (section 5 of the spec)
    paired = np.array([np.subtract(scores, REFERENCE) for scores in arms.values()])
    own = paired.var(axis=1, ddof=1)
    moderated = (3 * own.mean() + 4 * own) / 7
    p_values = 2 * stats.t.sf(np.abs(paired.mean(axis=1)) / np.sqrt(moderated / 5), 7)
    p_values[3] = stats.ttest_rel(UNCLEAR, REFERENCE).pvalue  # far noisier than the others: it keeps its own
    differences = [v.difference for v in found.variants[1:]]
    assert [d and d.p_holm for d in differences] == pytest.approx(multipletests(p_values, method="holm")[1])
    half = stats.t.isf(0.05 / 8, 7) * np.sqrt(moderated[0] / 5)
    assert differences[0] is not None
    assert (differences[0].corrected.low, differences[0].corrected.high) == pytest.approx(
        (3.0 - half, 3.0 + half)
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
    one, own = (
        evidence(*arms, search=SearchSettings(scope, "auto", 2, {})) for scope in ("study", "repetition")
    )
    assert "hyperparameters found" in findings(one).answer
    assert "hyperparameters found" not in findings(own).answer
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
    assert "test clips" not in found.answer, "an interval over folds speaks for new clips"


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


def test_shares_of_the_training_time_are_over_the_runs_that_measured_it() -> None:
    """30 s and 10 s of 100 s and 50 s; a run of an older version counts neither."""
    made = two(CLEAR)
    times = [{"data": 30.0, "forward": 50.0}, {"data": 10.0}, {}]
    seconds = [100.0, 50.0, 1000.0]
    timed = tuple(
        replace(run, result=replace(run.result, seconds_in=times[min(n, 2)], seconds=seconds[min(n, 2)]))
        for n, run in enumerate(made.variants[0].repetitions)
        if run.result is not None
    )
    variants = (replace(made.variants[0], repetitions=timed), *made.variants[1:])
    found = findings(replace(made, variants=variants))
    expected = {"data": 100 * 40 / 150, "forward": 100 * 50 / 150}
    assert found.variants[0].seconds_shares == pytest.approx(expected)
    assert found.variants[1].seconds_shares == {}
