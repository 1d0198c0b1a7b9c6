"""What limits a study's conclusion: a code and a sentence each, printed in every report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite

from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.findings import Limit, LimitCode
from study.analysis.sentences import searches
from study.analysis.sentences.units import difference_with_unit, number, quantity, unit_suffix
from study.analysis.sentences.wording import LACKS_PREDICTIONS, OPTIMISTIC, join_words, sample_size
from study.analysis.values.scores import (
    against_reference,
    all_results,
    diverged_runs,
    has_ended,
    judged,
    metric_interval,
    metric_values,
    tested_runs,
)
from study.records import RunResult
from study.statistics.inference import FEWEST

SKIPPED_FILE = "skipped.txt"
"""Lists the skipped examples, in the report's folder."""
MOST_NAMED = 3
"""How many skipped examples a warning names."""


def limits(evidence: Evidence) -> Iterator[Limit]:
    """Yield every limit, those that exclude a verdict first."""
    yield from _optimistic(evidence)
    yield from _lacks_predictions(evidence)
    yield from _missing_runs(evidence)
    yield from _diverged_runs(evidence)
    yield from _skipped_examples(evidence)
    yield from evidence.limits
    yield from _test_seen(evidence)
    yield from _training_warnings(evidence)
    for check in CHECKS:
        yield from check(evidence)


def _training_warnings(evidence: Evidence) -> Iterator[Limit]:
    """Yield each warning of the trainings once, with the number of trainings that gave it."""
    results = all_results(evidence)
    counts = Counter(warning for result in results for warning in result.warnings)
    for warning, times in counts.items():
        scope = "" if times == len(results) else f"In {times} of {quantity(len(results), 'training')}: "
        yield Limit(LimitCode.TRAINING_WARNING, scope + warning)


def _optimistic(evidence: Evidence) -> Iterator[Limit]:
    if evidence.is_optimistic:
        yield Limit(
            LimitCode.OPTIMISTIC,
            f"Every figure of this report is optimistic: {OPTIMISTIC}. So no variant gets a verdict, and no claim "
            "is judged.",
        )


def _skipped_examples(evidence: Evidence) -> Iterator[Limit]:
    skipped = len(evidence.skipped)
    if skipped:
        named = "; ".join(evidence.skipped[:MOST_NAMED])
        rest = f"; and {skipped - MOST_NAMED} more" if skipped > MOST_NAMED else ""
        were, they = ("was", "it") if skipped == 1 else ("were", "they")
        yield Limit(
            LimitCode.SKIPPED_EXAMPLES,
            f"{quantity(skipped, evidence.noun)} of the data set's lists {were} left out because {they} could not be "
            f"used, so the results are not of the whole data set: {named}{rest}. All of them are listed in "
            f"{SKIPPED_FILE}.",
        )


def _missing_runs(evidence: Evidence) -> Iterator[Limit]:
    for variant in sorted(evidence.variants, key=lambda variant: not variant.is_reference):
        planned = quantity(variant.planned, "repetition")
        done = len(tested_runs(variant)) + diverged_runs(variant)
        name = f"The reference {variant.name}" if variant.is_reference else variant.name
        if not has_ended(variant):
            consequence = (
                "so no variant can be compared with it"
                if variant.is_reference
                else "so it gets no verdict; its mean, if any, is over those runs only"
            )
        elif done < variant.planned:
            consequence = "as the others failed: it is compared on the complete pairs only"
        else:
            continue
        yield Limit(
            LimitCode.MISSING_RUNS,
            f"{name} has results for {done or 'none'} of its {planned}, {consequence}.",
        )


def _diverged_runs(evidence: Evidence) -> Iterator[Limit]:
    metric = evidence.metric
    for variant in evidence.variants:
        diverged = diverged_runs(variant)
        if not diverged:
            continue
        consequence = (
            f"a diverged one scores {number(metric.scale * metric.worst, metric.unit)}{unit_suffix(metric)} "
            f"{metric.title}, the worst value"
            if isfinite(metric.worst)
            else f"{metric.title} has no worst value that it could score, so there is no verdict"
        )
        yield Limit(
            LimitCode.DIVERGED_RUNS,
            f"{diverged} of {quantity(variant.planned, 'repetition')} of {variant.name} diverged: {consequence}.",
        )


def _lacks_predictions(evidence: Evidence) -> Iterator[Limit]:
    if evidence.lacks_predictions:
        yield Limit(
            LimitCode.NO_PREDICTIONS,
            f"There is no verdict, as {LACKS_PREDICTIONS} (`run.examples`, or `run.predictions` with a metric that has "
            "`compute`); [analysis] scope = 'test-set' compares on exactly these test "
            f"{evidence.noun}s.",
        )


def _too_few_repetitions(evidence: Evidence) -> Iterator[Limit]:
    contrasts = [judged(evidence, effect) for effect in evidence.family]
    sizes = sorted({len(found.values) for found in contrasts if found is not None})
    if sizes and sizes[0] < FEWEST:
        pairs = quantity(sizes[0], "complete pair")
        yield Limit(
            LimitCode.TOO_FEW_REPETITIONS,
            f"{pairs} of runs show too little of the spread: there is no verdict below {FEWEST}.",
        )


def _no_spread(evidence: Evidence) -> Iterator[Limit]:
    unit = evidence.metric.unit
    for variant in evidence.variants:
        found = None if variant.is_reference else against_reference(evidence, variant)
        decided = None if found is None else found.estimate(evidence)
        if decided is not None and decided.sd == 0 and decided.n >= FEWEST:
            size = sample_size(evidence, variant, decided.n)
            yield Limit(
                LimitCode.EQUAL_DIFFERENCES,
                f"{variant.name} scores the same as {variant.reference} {size}: are the two really different?"
                if decided.mean == 0
                else f"{variant.name} differs from {variant.reference} by the same "
                f"{difference_with_unit(decided.mean, unit)} {size}: the spread over repetitions is not known.",
            )
        scores = metric_values(evidence, variant, evidence.metric)
        if len(scores) > 1 and len(set(scores)) == 1 and not _learns_differently(variant):
            yield Limit(
                LimitCode.EQUAL_SCORES,
                f"{variant.name} scores the same {sample_size(evidence, variant, len(scores))}: does the seed reach "
                "its training?",
            )


def _learns_differently(variant: VariantEvidence) -> bool:
    """Whether the learning curves of repetitions differ, so that equal scores are chance and not equal trainings."""
    curves = [
        [(epoch.train_loss, epoch.validation) for epoch in result.history]
        for _, result, _ in tested_runs(variant)
    ]
    return any(curve != curves[0] for curve in curves)


def _near_chance(evidence: Evidence) -> Iterator[Limit]:
    metric = evidence.metric
    side = "above" if metric.direction == "maximize" else "below"
    for variant in evidence.variants:
        level = evidence.data_of(variant).chance
        score = metric_interval(evidence, variant, metric)
        if level is None or score is None:
            continue
        chance = metric.scale * level
        worst = score.low if metric.direction == "maximize" else score.high
        if metric.gain(score.mean if worst is None else worst) <= metric.gain(chance):
            unit = unit_suffix(metric)
            yield Limit(
                LimitCode.NEAR_CHANCE,
                f"{variant.name} scores {number(score.mean, metric.unit)}{unit} {metric.title}, not clearly {side} "
                f"the {number(chance, metric.unit)}{unit} of guessing: it may have learned nothing.",
            )


def _test_seen(evidence: Evidence) -> Iterator[Limit]:
    if any(test.seen_in_training for variant in evidence.variants for _, _, test in tested_runs(variant)):
        yield Limit(
            LimitCode.TEST_SEEN,
            "The training code itself reported the test figures, so it has seen the test split: nothing keeps it "
            "from having chosen on them.",
        )


def _mixed_machines(evidence: Evidence) -> Iterator[Limit]:
    results = [trial.result for variant in evidence.variants for trial in variant.trials]
    machines = [result.machine for result in results if isinstance(result, RunResult)]
    machines += [result.machine for variant in evidence.variants for _, result, _ in tested_runs(variant)]
    packages = sorted({package for machine in machines for package in machine.versions})
    for package in packages:
        versions = sorted({machine.versions.get(package, "none") for machine in machines})
        if len(versions) > 1:
            yield Limit(
                LimitCode.MIXED_VERSIONS,
                f"The runs were computed with different versions of {package} ({join_words(versions)}).",
            )
    hardware = sorted({machine.hardware for machine in machines})
    if len(hardware) > 1:
        yield Limit(
            LimitCode.MIXED_HARDWARE,
            f"The runs were computed on different hardware ({join_words(hardware)}).",
        )


def _nondeterministic(evidence: Evidence) -> Iterator[Limit]:
    operators = {name for result in all_results(evidence) for name in result.nondeterministic}
    if operators:
        yield Limit(
            LimitCode.NONDETERMINISTIC,
            "The runs used operators that have no deterministic form on their device "
            f"({join_words(sorted(operators))}): the same run may give other numbers when it is repeated.",
        )


CHECKS = (
    _too_few_repetitions,
    _no_spread,
    _near_chance,
    *searches.CHECKS,
    _mixed_machines,
    _nondeterministic,
)
