"""How to read a study's figures: what the intervals cover, and what its number of repetitions can show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from study.analysis.evidence import Evidence
from study.analysis.sentences.units import difference_with_unit, fixed, number, percent, quantity, unit_suffix
from study.analysis.sentences.wording import join_words, rope_with_unit, sample_size
from study.analysis.values.scores import against_reference, metric_values, paired_scores, trial_status
from study.statistics.description import binomial_half_width, mean
from study.statistics.families import BORROW_FROM
from study.statistics.samples import correlation, correlation_interval, least_sign_flip_p


class NoteCode(StrEnum):
    """The kinds of notes."""

    COVERAGE = "coverage"
    LEAST_DIFFERENCE = "least-difference"
    CORRECTION = "correction"
    BORROWED_VARIANCE = "borrowed-variance"
    NEGATIVE_CORRELATION = "negative-correlation"
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
        yield from _negative_correlations(evidence)
    yield from _test_size(evidence)
    if not evidence.is_optimistic:
        yield from _rank_tests(evidence)
    yield from _pruned(evidence)
    yield from _uncounted(evidence)
    yield from _unused(evidence)


def _coverage(evidence: Evidence) -> Note:
    noun = f"{evidence.noun}s"
    if evidence.search is not None and not evidence.has_one_search:
        hyperparameters = "its search of hyperparameters included"
    else:
        hyperparameters = "and these hyperparameters"
    if evidence.has_one_search:
        hyperparameters += "; the randomness of the search that found them is not covered"
    if any(map(evidence.folds_of, evidence.variants)):
        covered = (
            "t intervals over folds, each fold's repetitions averaged first, widened for the training "
            f"{noun} that folds share (Nadeau and Bengio 2003): a statement about trainings on new {noun} like these"
        )
    elif evidence.scope == "population":
        covered = (
            "d ± t sqrt(s²/n + v_c − v_sc): s²/n from the repetitions, v_c the jackknife variance over the sources "
            f"of the test {noun}, v_sc its part that is inside s²/n, degrees of freedom by Satterthwaite: a statement "
            f"about this training procedure on new {noun} like these"
        )
    else:
        covered = (
            "t intervals over repetitions: a statement about this training procedure on exactly these test "
            f"{noun}, as published tables make it"
        )
    return Note(NoteCode.COVERAGE, f"Intervals are {covered}, {hyperparameters}.")


def _family(evidence: Evidence) -> Iterator[Note]:
    m = evidence.comparisons
    yield Note(
        NoteCode.LEAST_DIFFERENCE,
        f"The least difference of interest, {rope_with_unit(evidence)}, is what the study declares.",
    )
    if m > 1:
        yield Note(
            NoteCode.CORRECTION,
            f"Verdicts rest on {percent(1 - evidence.alpha / m)} intervals: {percent(1 - evidence.alpha)} corrected "
            f"for {quantity(m, 'comparison')} (Bonferroni). Holm's p is a description.",
        )
    if m >= BORROW_FROM and not evidence.folds:
        yield Note(
            NoteCode.BORROWED_VARIANCE,
            "The variance over repetitions of each comparison is drawn towards the mean of the family, weighted by up "
            "to four degrees of freedom (Smyth 2004); one that is far noisier than the others keeps its own.",
        )


def _negative_correlations(evidence: Evidence) -> Iterator[Note]:
    """Yield the variants whose scores move against their reference's over repetitions: pairing costs power there."""
    for variant in evidence.compared:
        r = correlation(*paired_scores(evidence, variant))
        if r is None or r >= 0 or against_reference(evidence, variant) is None:
            continue
        n = len(paired_scores(evidence, variant)[0])
        bounds = correlation_interval(r, n)
        interval = "" if bounds is None else f", 95 % interval {fixed(bounds[0], 2)} to {fixed(bounds[1], 2)}"
        yield Note(
            NoteCode.NEGATIVE_CORRELATION,
            f"Over repetitions, {variant.name} scores low where {variant.reference} scores high "
            f"(r = {fixed(r, 2)}{interval}): their common seed does not narrow the interval of the difference.",
        )


def _test_size(evidence: Evidence) -> Iterator[Note]:
    """Yield the binomial error of a metric that is a share of the test examples, the primary one where it is.

    One sentence for each size of the test split, with the score of the first reference that was tested on it.
    """
    metric = next((metric for metric in evidence.metrics if metric.is_proportion), None)
    contained = "" if evidence.scope == "population" else "; the intervals do not contain this"
    references = {
        evidence.data_of(variant).examples_in_test: variant for variant in reversed(evidence.references)
    }
    for examples, reference in reversed(references.items()):
        scores = metric_values(evidence, reference, metric) if metric else []
        if metric is None or not scores or not examples:
            continue
        share = mean(scores) / metric.scale
        half = metric.scale * binomial_half_width(share, examples)
        article = "an" if metric.title[:1].lower() in "aeio" else "a"
        moved = difference_with_unit(half, metric.unit)
        noun = f"{evidence.noun}s"
        yield Note(
            NoteCode.TEST_SIZE,
            f"Which {examples} {noun} are in the test split alone moves {article} {metric.title} of "
            f"{number(metric.scale * share, metric.unit)}{unit_suffix(metric)} by ±{moved} (95 %, binomial, each "
            f"{evidence.noun} a source of its own){contained}. Differences between variants on the same {noun} usually "
            "move less.",
        )


def _rank_tests(evidence: Evidence) -> Iterator[Note]:
    alpha = evidence.alpha / evidence.comparisons
    sizes = [
        (len(found.values), variant)
        for variant in evidence.compared
        if (found := against_reference(evidence, variant)) is not None
    ]
    if sizes:
        n, variant = min(sizes, key=lambda item: item[0])
        least = least_sign_flip_p(n)
        if least > alpha:
            yield Note(
                NoteCode.RANK_TESTS,
                f"Rank and sign-flip tests cannot reach p < {alpha:.2g} {sample_size(evidence, variant, n)} (least p "
                f"{least:.3g}), so none is given.",
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
