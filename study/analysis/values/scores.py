"""Scores of a variant and contrasts of variants: one value for each repetition, or one for each fold."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from study.analysis.described import Interval, TrialStatus
from study.analysis.evidence import Evidence, RepetitionEvidence, TrialEvidence, VariantEvidence
from study.ledger.record import EffectRecord
from study.metrics import Metric
from study.records import Breakdown, RunResult, Stopped, TestResult
from study.statistics.contrasts import length, weighted_sum
from study.statistics.description import mean
from study.statistics.families import borrowed
from study.statistics.inference import Estimate, Variance, estimate, joined_replicates
from study.statistics.sequential import critical
from study.statistics.verdicts import Critical

LEVEL = 0.95
"""Confidence of intervals that describe; those that decide are corrected for the number of comparisons."""

Key = tuple[int, int]
"""Fold (0 without folds) and repetition."""


@dataclass(frozen=True)
class Outcome:
    """What one run of a variant counts for: its test score, or the worst score where it diverged; scaled."""

    run: RepetitionEvidence
    score: float
    replicates: NDArray[np.float64] | None
    """(m,) the score with each source of test examples left out."""
    diverged: bool = False


@dataclass(frozen=True)
class Contrast:
    """A linear contrast of variants on the primary metric, scaled, its sign as weighted."""

    values: tuple[float, ...]
    """One for each repetition that every variant has; with folds one for each fold, repetitions averaged."""
    replicates: NDArray[np.float64] | None
    """(n, m) the same with each source left out; None where a run has none, and with folds."""
    overlap: float
    pairs: int
    """Repetitions, or repetitions of folds, that every variant has."""
    diverged: int
    """Pairs in which a variant diverged."""
    missing: int
    """Planned pairs that are incomplete."""

    variance: Variance | None = None
    """Borrowed from the study's other comparisons; None where its own decides."""

    def estimate(self, evidence: Evidence) -> Estimate:
        """Return the estimate with the deciding standard error of the study's scope."""
        found = estimate(self.values, self.replicates, self.overlap, self.variance)
        return found if evidence.scope == "population" else found.on_test_set()


def tested_runs(variant: VariantEvidence) -> list[tuple[RepetitionEvidence, RunResult, TestResult]]:
    """Return the repetitions that finished and were tested, with both results."""
    return [
        (run, run.result, run.test)
        for run in variant.repetitions
        if run.result is not None and run.result.status == "finished" and run.test is not None
    ]


def has_diverged(run: RepetitionEvidence) -> bool:
    """Whether a run's training diverged, which is an outcome and not a failure."""
    return run.result is not None and run.result.status == "diverged"


def has_ended(variant: VariantEvidence) -> bool:
    """Whether every repetition of the study was tested, diverged or failed, or a trial of its search failed."""
    ended = [run for run in variant.repetitions if run.failure is not None or has_diverged(run)]
    return 0 < variant.planned <= len(tested_runs(variant)) + len(ended) + variant.unreachable


def diverged_runs(variant: VariantEvidence) -> int:
    """Return the number of a variant's repetitions that diverged."""
    return sum(map(has_diverged, variant.repetitions))


def outcomes(evidence: Evidence, variant: VariantEvidence) -> dict[Key, Outcome]:
    """Return the outcome of each run by fold and repetition.

    A run that diverged scores the metric's worst value, its declared bound, which is no better than chance; it has no
    outcome where the metric has no such bound.
    """
    metric = evidence.metric
    found: dict[Key, Outcome] = {}
    for run, _, test in tested_runs(variant):
        if metric.name in test.metrics:
            replicates = None if run.replicates is None else metric.scale * np.array(run.replicates)
            found[run.fold or 0, run.repetition] = Outcome(
                run, metric.scale * test.metrics[metric.name], replicates
            )
    worst = metric.scale * metric.worst
    if math.isfinite(worst):
        for run in filter(has_diverged, variant.repetitions):
            found[run.fold or 0, run.repetition] = Outcome(run, worst, None, diverged=True)
    return dict(sorted(found.items()))


def contrast(
    evidence: Evidence, weights: Mapping[str, float], runs: Collection[str] | None = None
) -> Contrast | None:
    """Return a linear contrast of variants over the runs that all of them have; None without such a run.

    Args:
        evidence: The study's results.
        weights: The weight of each variant by name, such as 1 for a variant and -1 for its reference.
        runs: The ids of the runs that count; all of them if None.
    """
    variants = [variant for variant in evidence.variants if variant.name in weights]
    arms = {
        variant.name: {
            key: outcome
            for key, outcome in outcomes(evidence, variant).items()
            if runs is None or outcome.run.run in runs
        }
        for variant in variants
    }
    common = sorted(set.intersection(*(set(arm) for arm in arms.values())))
    if not common:
        return None
    values = {
        key: weighted_sum([(weight, arms[name][key].score) for name, weight in weights.items()])
        for key in common
    }
    return Contrast(
        values=tuple(_mean_by_sample(evidence, variants[0], values)),
        replicates=None if evidence.folds_of(variants[0]) else _replicates(evidence, arms, weights, common),
        overlap=max(evidence.overlap_of(variant) for variant in variants),
        pairs=len(common),
        diverged=sum(any(arm[key].diverged for arm in arms.values()) for key in common),
        missing=min(variant.planned for variant in variants) - len(common),
    )


def _replicates(
    evidence: Evidence,
    arms: Mapping[str, Mapping[Key, Outcome]],
    weights: Mapping[str, float],
    common: list[Key],
) -> NDArray[np.float64] | None:
    """Return the replicates of a contrast, (n, m); None where a run has none, or runs of a stratum other sources.

    Strata with other sources are independent samples of examples.
    """
    whole = _of_one_sample(arms, weights, common)
    strata: dict[str, dict[str, float]] = {}
    for variant in evidence.variants:
        if variant.name in weights:
            strata.setdefault(variant.reference, {})[variant.name] = weights[variant.name]
    if whole is not None or len(strata) == 1:
        return whole
    parts = [_of_one_sample(arms, own, common) for own in strata.values()]
    samples = [part for part in parts if part is not None]
    if len(samples) < len(parts):
        return None
    return joined_replicates(samples)


def _of_one_sample(
    arms: Mapping[str, Mapping[Key, Outcome]], weights: Mapping[str, float], common: list[Key]
) -> NDArray[np.float64] | None:
    """Return the replicates of runs with the same sources, (n, m); None where a run has none, or others.

    A run that diverged scores the same whichever source is left out.
    """
    used = [arms[name][key] for name in weights for key in common]
    tested = [outcome for outcome in used if not outcome.diverged]
    if any(outcome.replicates is None for outcome in tested) or len({o.run.sources for o in tested}) != 1:
        return None
    m = next(len(outcome.replicates) for outcome in tested if outcome.replicates is not None)

    def row(outcome: Outcome) -> NDArray[np.float64]:
        return np.full(m, outcome.score) if outcome.replicates is None else outcome.replicates

    return np.array(
        [weighted_sum([(weight, row(arms[name][key])) for name, weight in weights.items()]) for key in common]
    )


def _mean_by_sample(
    evidence: Evidence, variant: VariantEvidence, values: Mapping[Key, float]
) -> Iterator[float]:
    """Yield the value of each repetition or, with folds, the mean over the repetitions of each fold."""
    has_folds = bool(evidence.folds_of(variant))
    groups: dict[int, list[float]] = defaultdict(list)
    for (fold, repetition), value in values.items():
        groups[fold if has_folds else repetition].append(value)
    for group in sorted(groups):
        yield mean(groups[group])


def is_comparable(evidence: Evidence, weights: Mapping[str, float]) -> bool:
    """Whether variants can be compared.

    They cannot while a run of any may still end, where a repetition diverged and the metric has no worst value, where
    epochs were chosen on the test split, which raises all scores by unknown amounts, and where the study's scope needs
    predictions that runs lack.
    """
    arms = [variant for variant in evidence.variants if variant.name in weights]
    if evidence.is_optimistic or evidence.lacks_predictions or not all(map(has_ended, arms)):
        return False
    return math.isfinite(evidence.metric.worst) or not any(map(diverged_runs, arms))


def judged(evidence: Evidence, effect: EffectRecord) -> Contrast | None:
    """Return an effect of the study's family with its borrowed variance; None where it cannot be judged."""
    found = _contrast_of(evidence, effect)
    if found is None:
        return None
    if not evidence.variances:
        evidence.variances.update(_borrowed(evidence))
    return replace(found, variance=evidence.variances.get(effect.name))


def _contrast_of(evidence: Evidence, effect: EffectRecord) -> Contrast | None:
    """Return the contrast of an effect, over the runs on which a look closed it; None where it cannot be judged."""
    if not is_comparable(evidence, effect.weights):
        return None
    return contrast(evidence, effect.weights, evidence.looked_at(effect.name))


def levels(evidence: Evidence, effect: EffectRecord) -> Critical:
    """Return the nominal levels that decide an effect: those of its look where repetitions are adaptive."""
    look = evidence.look_at(effect.name)
    if look is not None:
        return critical(look, evidence.looks, evidence.alpha, evidence.comparisons)
    return Critical.of_family(evidence.alpha, evidence.comparisons)


def described_level(evidence: Evidence, effect: EffectRecord | None) -> float:
    """Return the nominal confidence of the interval that describes an effect at `LEVEL`, alone and not in its family.

    Where repetitions are adaptive it is that of its look, so that intervals hold the truth at `LEVEL` over all looks
    together: at the nominal level of one look they would cover .93.
    """
    look = None if effect is None else evidence.look_at(effect.name)
    if look is None:
        return LEVEL
    return 1 - critical(look, evidence.looks, 1 - LEVEL).difference


def _borrowed(evidence: Evidence) -> dict[str, Variance | None]:
    """Return the borrowed variance of each effect of the family; with folds none is borrowed."""
    family = evidence.family
    contrasts = [_contrast_of(evidence, effect) for effect in family]
    sds = [None if found is None or found.overlap else estimate(found.values).sd for found in contrasts]
    ns = [0 if found is None else len(found.values) for found in contrasts]
    norms = [length(effect.weights.values()) for effect in family]
    names = [effect.name for effect in family]
    return dict(zip(names, borrowed(sds, ns, norms), strict=True))


def level_of(evidence: Evidence, variant: VariantEvidence) -> Critical:
    """Return the nominal levels that decide the difference of a variant from its reference."""
    effect = evidence.effect_of({variant.name: 1.0, variant.reference: -1.0})
    if effect is None:
        return Critical.of_family(evidence.alpha, evidence.comparisons)
    return levels(evidence, effect)


def against_reference(evidence: Evidence, variant: VariantEvidence) -> Contrast | None:
    """Return a variant minus its reference; None where they cannot be compared."""
    effect = evidence.effect_of({variant.name: 1.0, variant.reference: -1.0})
    return None if effect is None else judged(evidence, effect)


def paired_scores(evidence: Evidence, variant: VariantEvidence) -> tuple[list[float], list[float]]:
    """Return the scores of a variant and of its reference where both have one, scaled, folds averaged."""
    arms = outcomes(evidence, variant), outcomes(evidence, evidence.reference_of(variant))
    common = [key for key in arms[0] if key in arms[1]]
    first, second = (
        list(_mean_by_sample(evidence, variant, {key: arm[key].score for key in common})) for arm in arms
    )
    return first, second


def primary_estimate(evidence: Evidence, variant: VariantEvidence) -> Estimate | None:
    """Return a variant's own score with the standard error of the study's scope; None without any value."""
    found = contrast(evidence, {variant.name: 1.0})
    return None if found is None else found.estimate(evidence)


def metric_values(evidence: Evidence, variant: VariantEvidence, metric: Metric) -> list[float]:
    """Return a test metric, scaled, one value for each repetition in their order.

    With folds it is one value for each fold, its repetitions averaged: repetitions of one fold share their test
    examples, so they are no further samples of what differs between folds. Runs that diverged count with the primary
    metric's worst value; other metrics are of the tested runs.
    """
    if metric.name == evidence.metric.name:
        scores = {key: outcome.score for key, outcome in outcomes(evidence, variant).items()}
        return list(_mean_by_sample(evidence, variant, scores))
    return sample_means(
        evidence,
        variant,
        (
            (run, metric.scale * test.metrics[metric.name])
            for run, _, test in tested_runs(variant)
            if metric.name in test.metrics
        ),
    )


def sample_means(
    evidence: Evidence, variant: VariantEvidence, values: Iterable[tuple[RepetitionEvidence, float]]
) -> list[float]:
    """Return the mean value of each repetition or, where its data have folds, of each fold, in their order."""
    by_run = {(run.fold or 0, run.repetition): value for run, value in values}
    return list(_mean_by_sample(evidence, variant, dict(sorted(by_run.items()))))


def metric_interval(evidence: Evidence, variant: VariantEvidence, metric: Metric) -> Interval | None:
    """Return a metric's mean over repetitions, or folds, with its 95 % interval; None without any value."""
    if metric.name == evidence.metric.name:
        found = primary_estimate(evidence, variant)
    else:
        values = metric_values(evidence, variant, metric)
        found = estimate(values, overlap=evidence.overlap_of(variant)) if values else None
    return None if found is None else score_interval(found, metric)


def breakdowns_named(variant: VariantEvidence, name: str) -> list[tuple[RepetitionEvidence, Breakdown]]:
    """Return the runs that have a breakdown of this name, with it."""
    return [
        (run, part) for run, _, test in tested_runs(variant) for part in test.breakdowns if part.name == name
    ]


def row_interval(evidence: Evidence, variant: VariantEvidence, name: str, row: str) -> Interval | None:
    """Return one row's mean over repetitions, or folds, scaled, with its interval; None without any value."""
    parts = breakdowns_named(variant, name)
    pairs = ((run, part.scale * part.values[row]) for run, part in parts if row in part.values)
    values = sample_means(evidence, variant, pairs)
    return interval_of(estimate(values, overlap=evidence.overlap_of(variant))) if values else None


def row_difference(
    evidence: Evidence, variant: VariantEvidence, reference: VariantEvidence, name: str, row: str
) -> Interval | None:
    """Return one row's mean paired difference from the reference, scaled, with its interval; None without a pair."""
    others = {
        (run.fold, run.repetition): part.values[row]
        for run, part in breakdowns_named(reference, name)
        if row in part.values
    }
    pairs = (
        (run, part.scale * (part.values[row] - others[run.fold, run.repetition]))
        for run, part in breakdowns_named(variant, name)
        if row in part.values and (run.fold, run.repetition) in others
    )
    values = sample_means(evidence, variant, pairs)
    return interval_of(estimate(values, overlap=evidence.overlap_of(variant))) if values else None


def interval_of(found: Estimate, level: float = LEVEL) -> Interval:
    """Return the mean and t interval of an estimate."""
    low, high = found.interval(level) or (None, None)
    return Interval(found.mean, low, high)


def score_interval(found: Estimate, metric: Metric, level: float = LEVEL) -> Interval:
    """Return the interval of a score, clipped to the values that the metric can have."""
    low, high = (None if bound is None else metric.scale * bound for bound in (metric.low, metric.high))
    return clipped(interval_of(found, level), low, high)


def difference_interval(found: Estimate, metric: Metric, level: float = LEVEL) -> Interval:
    """Return the interval of a difference, clipped to the differences that the metric can have."""
    if metric.low is None or metric.high is None:
        return interval_of(found, level)
    widest = metric.scale * (metric.high - metric.low)
    return clipped(interval_of(found, level), -widest, widest)


def clipped(interval: Interval, least: float | None, most: float | None) -> Interval:
    """Return an interval whose bounds lie between `least` and `most`."""
    if interval.low is None or interval.high is None:
        return interval
    low = interval.low if least is None else max(least, interval.low)
    high = interval.high if most is None else min(most, interval.high)
    return Interval(interval.mean, low, high)


def trial_status(trial: TrialEvidence) -> TrialStatus:
    """Return how a trial ended."""
    if isinstance(trial.result, RunResult):
        return trial.result.status
    return "pruned" if isinstance(trial.result, Stopped) else "failed"


def final_validation(trial: TrialEvidence, metric: Metric) -> float | None:
    """Return a finished trial's score on the validation split, scaled; None for any other trial."""
    if not isinstance(trial.result, RunResult) or trial.result.status != "finished":
        return None
    value = trial.result.validation.get(metric.name)
    return None if value is None else metric.scale * value


def best_validation(trial: TrialEvidence, metric: Metric) -> float | None:
    """Return a trial's best score on the validation split, scaled, also where it was stopped early."""
    if isinstance(trial.result, Stopped):
        curve = [e.validation[metric.name] for e in trial.result.history if metric.name in e.validation]
        return metric.scale * max(curve, key=metric.gain) if curve else None
    return final_validation(trial, metric)


def parameter_count(variant: VariantEvidence) -> int | None:
    """Return the number of trainable values, as profiled or as a training reports it."""
    if variant.profile is not None:
        return variant.profile.parameters
    counts = (result.parameters for _, result, _ in tested_runs(variant))
    return next((count for count in counts if count is not None), None)


def all_results(evidence: Evidence) -> list[RunResult]:
    """Return the results of all search trials and repetitions."""
    trials = (trial.result for variant in evidence.variants for trial in variant.trials)
    repetitions = (run.result for variant in evidence.variants for run in variant.repetitions)
    return [result for result in (*trials, *repetitions) if isinstance(result, RunResult)]
