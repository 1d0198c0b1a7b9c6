"""How to read a study's figures: what the intervals cover and what so few seeds can show."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from statistics import fmean

from study.analysis.evidence import Evidence
from study.analysis.scores import paired, values
from study.analysis.units import amount, difference, number, unit_of
from study.analysis.wording import counted, joined, percent, rope, sampled
from study.records import Stopped
from study.statistics.power import seeds_for_rank_test, smallest_effect
from study.statistics.samples import least_sign_flip_p

Z_95 = 1.959964
"""Half-width of a 95 % normal interval, in standard errors."""
SEEDS_TO_CHOOSE_FROM = (3, 5, 8, 10, 20)


def notes(evidence: Evidence) -> Iterator[str]:
    """Yield the notes in the order in which they are printed."""
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


def _samples(evidence: Evidence) -> int:
    """Return how many seeds, or folds, the study asks for."""
    return len(evidence.folds) or evidence.references[0].planned


def _coverage(evidence: Evidence) -> str:
    n = _samples(evidence)
    if evidence.folds:
        covered = (
            f"t intervals over {counted(n, 'fold')}, each fold's seeds averaged first, widened for the training "
            f"{evidence.noun}s that folds share (Nadeau and Bengio): a statement about networks trained on such folds"
        )
    else:
        covered = f"t intervals over {counted(n, 'seed')} only: a statement about this split"
    luck = "; the luck of the search that found them is not covered" if evidence.searched else ""
    return f"Intervals are {covered} and these hyperparameters{luck}."


def _family(evidence: Evidence) -> Iterator[str]:
    m = evidence.comparisons
    yield f"The least difference of interest, {rope(evidence)}, was declared in the study before its runs."
    if m > 1:
        yield (
            f"Verdicts rest on {percent(1 - evidence.alpha / m)} intervals: {percent(1 - evidence.alpha)} corrected "
            f"for {counted(m, 'comparison')} (Bonferroni). Holm's p is a description."
        )


def _smallest_effect(evidence: Evidence) -> Iterator[str]:
    n, alpha = _samples(evidence), evidence.alpha / evidence.comparisons
    pairs = {v.name: paired(evidence, v) for v in evidence.compared}
    units = counted(n, "fold" if evidence.folds else "seed")
    effect = smallest_effect(n, alpha)
    if effect is not None:
        effect *= sqrt(1 + n * evidence.overlap)
        spreads = {name: pair.differences.sd for name, pair in pairs.items() if pair is not None}
        unit = evidence.metric.unit
        sizes = {name: amount(difference(effect * sd, unit), unit) for name, sd in spreads.items() if sd}
        here = joined([f"{size} for {name}" for name, size in sizes.items()])
        yield (
            f"The smallest true difference that {units} find with 80 % power is {effect:.2f} "
            f"standard deviations of the paired differences{f', here {here}' if here else ''}."
        )
    if not evidence.folds:
        others = joined([f"{smallest_effect(k, alpha):.2f} with {k}" for k in SEEDS_TO_CHOOSE_FROM])
        yield f"The same by number of seeds, in standard deviations: {others}."


def _test_size(evidence: Evidence) -> Iterator[str]:
    """Yield the binomial error of a metric that is a share of the test examples, the primary one where it is."""
    metric = next((metric for metric in evidence.metrics if metric.is_proportion), None)
    scores = values(evidence, evidence.references[0], metric) if metric else []
    if metric is None or not scores or not evidence.examples_in_test:
        return
    share = fmean(scores) / metric.scale
    half = metric.scale * Z_95 * sqrt(max(0.0, share * (1 - share)) / evidence.examples_in_test)
    article = "an" if metric.title[:1].lower() in "aeio" else "a"
    moved = amount(difference(half, metric.unit), metric.unit)
    noun = f"{evidence.noun}s"
    yield (
        f"Which {evidence.examples_in_test} {noun} are in the test split alone moves {article} {metric.title} of "
        f"{number(metric.scale * share, metric.unit)}{unit_of(metric)} by ±{moved} (95 %, binomial); the intervals "
        f"do not contain this. Differences between variants on the same {noun} usually move less."
    )


def _rank_tests(evidence: Evidence) -> Iterator[str]:
    n, alpha = _samples(evidence), evidence.alpha / evidence.comparisons
    least = least_sign_flip_p(n)
    if least > alpha:
        yield (
            f"Rank and sign-flip tests cannot reach p < {alpha:.2g} {sampled(evidence, n)} (least p {least:.3g}; "
            f"they need {seeds_for_rank_test(alpha)}), so none is given."
        )


def _pruned(evidence: Evidence) -> Iterator[str]:
    found = []
    for variant in evidence.variants:
        stopped = sum(isinstance(trial.outcome, Stopped) for trial in variant.trials)
        if stopped:
            found.append(f"{stopped} of {counted(len(variant.trials), 'trial')} of {variant.name}")
    if found:
        yield (
            f"Search trials were stopped early: {joined(found)}. They count as trials, and what they had scored by "
            "then is compared with no trial that was trained to its end."
        )


def _uncounted(evidence: Evidence) -> Iterator[str]:
    profiles = [variant.profile for variant in evidence.variants if variant.profile is not None]
    operators = sorted({operator for profile in profiles for operator in profile.uncounted})
    if operators:
        yield f"The counter of multiply-accumulates knows nothing of {joined(operators)}, and counts them as 0."
    for variant in evidence.variants:
        if (
            variant.profile is not None
            and variant.profile.is_doubtful
            and variant.profile.disagreement is not None
        ):
            yield (
                f"The cost of {variant.name} is uncertain: torch's counter finds "
                f"{percent(abs(variant.profile.disagreement))} "
                f"{'more' if variant.profile.disagreement > 0 else 'fewer'} operations than fvcore's."
            )


def _unused(evidence: Evidence) -> Iterator[str]:
    for variant in evidence.variants:
        if variant.profile is not None and variant.profile.unused:
            yield (
                f"{variant.profile.unused} of the {variant.profile.parameters} parameters of {variant.name} get no "
                f"gradient: {joined(list(variant.profile.unused_tensors))}."
            )
