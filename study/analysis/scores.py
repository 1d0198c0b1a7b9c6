"""Samples of a variant's results: one value for each repetition, or one for each fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

from study.analysis.evidence import Confirmation, Evidence, TrialEvidence, VariantEvidence
from study.analysis.findings import Interval, TrialStatus
from study.metrics import Metric
from study.records import Breakdown, RunResult, Stopped, TestResult
from study.statistics.samples import Comparison, Sample, compare, sample, t_interval

LEVEL = 0.95
"""Confidence of intervals that describe; those that decide are corrected for the number of comparisons."""


def tested_runs(variant: VariantEvidence) -> list[tuple[Confirmation, RunResult, TestResult]]:
    """Return the confirmation runs that finished and were tested, with both results."""
    return [
        (run, run.result, run.test)
        for run in variant.confirmations
        if run.result is not None and run.result.status == "finished" and run.test is not None
    ]


def is_complete(variant: VariantEvidence) -> bool:
    """Whether every confirmation run of the study has a test result."""
    return 0 < variant.planned == len(tested_runs(variant))


def metric_values(evidence: Evidence, variant: VariantEvidence, metric: Metric) -> list[float]:
    """Return a test metric, scaled, one value for each repetition in their order.

    With folds it is one value for each fold, its repetitions averaged: repetitions of one fold share their test
    examples, so they are no further samples of what differs between folds.
    """
    return sample_means(
        evidence,
        (
            (run, metric.scale * test.metrics[metric.name])
            for run, _, test in tested_runs(variant)
            if metric.name in test.metrics
        ),
    )


def sample_means(evidence: Evidence, values: Iterable[tuple[Confirmation, float]]) -> list[float]:
    """Return the mean value of each repetition or, where the study has folds, of each fold, in their order."""
    groups: dict[int, list[float]] = defaultdict(list)
    for run, value in values:
        groups[run.fold if evidence.folds and run.fold is not None else run.repetition].append(value)
    return [fmean(groups[group]) for group in sorted(groups)]


def metric_interval(evidence: Evidence, variant: VariantEvidence, metric: Metric) -> Interval | None:
    """Return a metric's mean over repetitions, or folds, with its 95 % interval; None without any value."""
    return interval_of(sample(metric_values(evidence, variant, metric), evidence.overlap_of(variant)))


def breakdowns_named(variant: VariantEvidence, name: str) -> list[tuple[Confirmation, Breakdown]]:
    """Return the runs that have a breakdown of this name, with it."""
    return [
        (run, part) for run, _, test in tested_runs(variant) for part in test.breakdowns if part.name == name
    ]


def row_interval(evidence: Evidence, variant: VariantEvidence, name: str, row: str) -> Interval | None:
    """Return one row's mean over repetitions, or folds, scaled, with its interval; None without any value."""
    parts = breakdowns_named(variant, name)
    values = ((run, part.scale * part.values[row]) for run, part in parts if row in part.values)
    return interval_of(sample(sample_means(evidence, values), evidence.overlap_of(variant)))


def interval_of(values: Sample | None, level: float = LEVEL) -> Interval | None:
    """Return the mean and t interval of a sample; None without a sample."""
    return None if values is None else mean_interval(values, level)


def mean_interval(values: Sample, level: float) -> Interval:
    """Return the mean and t interval of a sample."""
    low, high = t_interval(values, level) or (None, None)
    return Interval(values.mean, low, high)


def paired_comparison(evidence: Evidence, variant: VariantEvidence) -> Comparison | None:
    """Compare a variant with its reference.

    None where either arm lacks a run, which could favour that arm, and where epochs were chosen on the test
    split, which raises both scores by unknown amounts.
    """
    if evidence.is_optimistic:
        return None
    arms = [variant, evidence.reference_of(variant)]
    keys = [sorted((run.fold or 0, run.repetition) for run, _, _ in tested_runs(arm)) for arm in arms]
    if keys[0] != keys[1] or not all(is_complete(arm) for arm in arms):
        return None
    scores, reference_scores = (metric_values(evidence, arm, evidence.metric) for arm in arms)
    return compare(scores, reference_scores, evidence.overlap_of(variant))


def as_gains(pair: Comparison, metric: Metric) -> Comparison:
    """Return a comparison with its sign such that higher is better, as verdicts need it."""
    if metric.direction == "maximize":
        return pair
    differences = pair.differences
    return replace(
        pair, differences=replace(differences, mean=-differences.mean), wins=differences.n - pair.wins
    )


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
    """Return the results of all search trials and confirmation runs."""
    trials = (trial.result for variant in evidence.variants for trial in variant.trials)
    confirmations = (run.result for variant in evidence.variants for run in variant.confirmations)
    return [result for result in (*trials, *confirmations) if isinstance(result, RunResult)]
