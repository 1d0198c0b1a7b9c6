"""How to read a study's figures: what the intervals cover, and what its number of repetitions can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import fmean

from study.analysis.evidence import Evidence
from study.analysis.scores import metric_values, paired_comparison, trial_status
from study.analysis.units import difference_with_unit, number, percent, quantity, unit_suffix
from study.analysis.wording import join_words, rope_with_unit, sample_size
from study.statistics.power import repetitions_for_rank_test, smallest_effect
from study.statistics.samples import least_sign_flip_p

Z_95 = 1.959964
"""Half-width of a 95 % normal interval, in standard errors."""
TABULATED_REPETITIONS = (3, 5, 8, 10, 20)


class NoteCode(StrEnum):
    """The kinds of notes."""

    COVERAGE = "coverage"
    LEAST_DIFFERENCE = "least-difference"
    CORRECTION = "correction"
    SMALLEST_EFFECT = "smallest-effect"
    EFFECT_BY_REPETITIONS = "effect-by-repetitions"
    TEST_SIZE = "test-size"
    RANK_TESTS = "rank-tests"
    PRUNED_TRIALS = "pruned-trials"
    UNCOUNTED_OPERATORS = "uncounted-operators"
    DOUBTFUL_COST = "doubtful-cost"
    UNUSED_PARAMETERS = "unused-parameters"


@dataclass(frozen=True)
class Note:
    """Something that a reader of the figures should know."""

    code: NoteCode
    sentence: str


def notes(evidence: Evidence) -> Iterator[Note]:
    """Yield the notes in printing order."""
    yield _coverage(evidence)
    if not evidence.is_optimistic:
        yield from _family(evidence)
        yield from _smallest_effect(evidence)
    yield from _test_size(evidence)
    if not evidence.is_optimistic:
        yield from _rank_tests(evidence)
    yield from _pruned(evidence)
    yield from _uncounted(evidence)
    yield from _unused(evidence)


def _planned_samples(evidence: Evidence) -> int:
    """Return how many repetitions, or folds, the study has."""
    return len(evidence.folds) or evidence.references[0].planned


def _coverage(evidence: Evidence) -> Note:
    n = _planned_samples(evidence)
    if evidence.folds:
        covered = (
            f"t intervals over {quantity(n, 'fold')}, each fold's repetitions averaged first, widened for the training "
            f"{evidence.noun}s that folds share (Nadeau and Bengio): a statement about networks trained on such folds"
        )
    else:
        covered = f"t intervals over {quantity(n, 'repetition')} only: a statement about this split"
    search = "; the randomness of the search that found them is not covered" if evidence.searched else ""
    return Note(NoteCode.COVERAGE, f"Intervals are {covered} and these hyperparameters{search}.")


def _family(evidence: Evidence) -> Iterator[Note]:
    m = evidence.comparisons
    yield Note(
        NoteCode.LEAST_DIFFERENCE,
        f"The least difference of interest, {rope_with_unit(evidence)}, was declared in the study before its runs.",
    )
    if m > 1:
        yield Note(
            NoteCode.CORRECTION,
            f"Verdicts rest on {percent(1 - evidence.alpha / m)} intervals: {percent(1 - evidence.alpha)} corrected "
            f"for {quantity(m, 'comparison')} (Bonferroni). Holm's p is a description.",
        )


def _smallest_effect(evidence: Evidence) -> Iterator[Note]:
    n, alpha = _planned_samples(evidence), evidence.alpha / evidence.comparisons
    pairs = {v.name: paired_comparison(evidence, v) for v in evidence.compared}
    units = quantity(n, "fold" if evidence.folds else "repetition")
    effect = smallest_effect(n, alpha)
    if effect is not None:
        effect *= sqrt(1 + n * max(evidence.overlap_of(variant) for variant in evidence.variants))
        spreads = {name: pair.differences.sd for name, pair in pairs.items() if pair is not None}
        unit = evidence.metric.unit
        sizes = {name: difference_with_unit(effect * sd, unit) for name, sd in spreads.items() if sd}
        by_variant = join_words([f"{size} for {name}" for name, size in sizes.items()])
        yield Note(
            NoteCode.SMALLEST_EFFECT,
            f"The smallest true difference that {units} find with 80 % power is {effect:.2f} "
            f"standard deviations of the paired differences{f': {by_variant}' if by_variant else ''}.",
        )
    if not evidence.folds:
        others = join_words([f"{smallest_effect(k, alpha):.2f} with {k}" for k in TABULATED_REPETITIONS])
        yield Note(
            NoteCode.EFFECT_BY_REPETITIONS,
            f"The same by number of repetitions, in standard deviations: {others}.",
        )


def _test_size(evidence: Evidence) -> Iterator[Note]:
    """Yield the binomial error of a metric that is a share of the test examples, the primary one where it is.

    One sentence for each size of the test split, with the score of the first reference that was tested on it.
    """
    metric = next((metric for metric in evidence.metrics if metric.is_proportion), None)
    references = {
        evidence.data_of(variant).examples_in_test: variant for variant in reversed(evidence.references)
    }
    for examples, reference in reversed(references.items()):
        scores = metric_values(evidence, reference, metric) if metric else []
        if metric is None or not scores or not examples:
            continue
        share = fmean(scores) / metric.scale
        half = metric.scale * Z_95 * sqrt(max(0.0, share * (1 - share)) / examples)
        article = "an" if metric.title[:1].lower() in "aeio" else "a"
        moved = difference_with_unit(half, metric.unit)
        noun = f"{evidence.noun}s"
        yield Note(
            NoteCode.TEST_SIZE,
            f"Which {examples} {noun} are in the test split alone moves {article} {metric.title} of "
            f"{number(metric.scale * share, metric.unit)}{unit_suffix(metric)} by ±{moved} (95 %, binomial); the "
            f"intervals do not contain this. Differences between variants on the same {noun} usually move less.",
        )


def _rank_tests(evidence: Evidence) -> Iterator[Note]:
    n, alpha = _planned_samples(evidence), evidence.alpha / evidence.comparisons
    least = least_sign_flip_p(n)
    if least > alpha:
        yield Note(
            NoteCode.RANK_TESTS,
            f"Rank and sign-flip tests cannot reach p < {alpha:.2g} {sample_size(evidence, n)} (least p {least:.3g}; "
            f"they need {repetitions_for_rank_test(alpha)}), so none is given.",
        )


def _pruned(evidence: Evidence) -> Iterator[Note]:
    variants = []
    for variant in evidence.variants:
        stopped = sum(trial_status(trial) == "pruned" for trial in variant.trials)
        if stopped:
            variants.append(f"{stopped} of {quantity(len(variant.trials), 'trial')} of {variant.name}")
    if variants:
        yield Note(
            NoteCode.PRUNED_TRIALS,
            f"Search trials were stopped early: {join_words(variants)}. They count as trials; their scores up to "
            "then are not compared with those of trials that were trained to the end.",
        )


def _uncounted(evidence: Evidence) -> Iterator[Note]:
    profiles = [variant.profile for variant in evidence.variants if variant.profile is not None]
    operators = sorted({operator for profile in profiles for operator in profile.uncounted})
    if operators:
        yield Note(
            NoteCode.UNCOUNTED_OPERATORS,
            f"The counter of multiply-accumulates does not support {join_words(operators)} and counts them as 0.",
        )
    for variant in evidence.variants:
        if (
            variant.profile is not None
            and variant.profile.is_doubtful
            and variant.profile.disagreement is not None
        ):
            yield Note(
                NoteCode.DOUBTFUL_COST,
                f"The cost of {variant.name} is uncertain: torch's counter finds "
                f"{percent(abs(variant.profile.disagreement))} "
                f"{'more' if variant.profile.disagreement > 0 else 'fewer'} operations than fvcore's.",
            )


def _unused(evidence: Evidence) -> Iterator[Note]:
    for variant in evidence.variants:
        if variant.profile is not None and variant.profile.unused:
            yield Note(
                NoteCode.UNUSED_PARAMETERS,
                f"{variant.profile.unused} of the {variant.profile.parameters} parameters of {variant.name} get no "
                f"gradient: {join_words(list(variant.profile.unused_tensors))}.",
            )
