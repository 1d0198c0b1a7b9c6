"""A variant's test scores, as samples: one value a seed, or one a fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean

from study.analysis.evidence import Confirmation, Evidence, TrialEvidence, VariantEvidence
from study.analysis.findings import Interval
from study.metrics import Metric
from study.records import Breakdown, RunResult, Stopped, TestResult
from study.statistics.samples import Comparison, Sample, compare, sample, t_interval

LEVEL = 0.95
"""Of intervals that describe; those that decide are corrected for the number of comparisons."""


def tested(variant: VariantEvidence) -> list[tuple[Confirmation, RunResult, TestResult]]:
    """Return the confirmation runs that went all the way, with their two results."""
    return [
        (run, run.result, run.test)
        for run in variant.confirmations
        if run.result is not None and run.result.status == "finished" and run.test is not None
    ]


def is_complete(variant: VariantEvidence) -> bool:
    """Whether every confirmation run that the study asks for has its test result."""
    return 0 < variant.planned == len(tested(variant))


def values(evidence: Evidence, variant: VariantEvidence, metric: Metric) -> list[float]:
    """Return a test metric, scaled, one value a seed in their order.

    Where the study has folds it is one value a fold, its seeds averaged: seeds of one fold share their test
    examples, so they are not further samples of what the folds differ in.
    """
    return sampled(
        evidence,
        (
            (run, metric.scale * test.metrics[metric.name])
            for run, _, test in tested(variant)
            if metric.name in test.metrics
        ),
    )


def sampled(evidence: Evidence, figures: Iterable[tuple[Confirmation, float]]) -> list[float]:
    """Return a figure's values, one a seed or, where the study has folds, one a fold, in their order."""
    groups: dict[int, list[float]] = defaultdict(list)
    for run, value in figures:
        groups[run.fold if evidence.folds and run.fold is not None else run.repetition].append(value)
    return [fmean(groups[group]) for group in sorted(groups)]


def score(evidence: Evidence, variant: VariantEvidence, metric: Metric) -> Interval | None:
    """Return a metric's mean over seeds, or folds, with its 95 % interval; None without any value."""
    found = sample(values(evidence, variant, metric), evidence.overlap)
    return None if found is None else interval(found, LEVEL)


def broken_down(variant: VariantEvidence, name: str) -> list[tuple[Confirmation, Breakdown]]:
    """Return one breakdown of every run that has it."""
    return [(run, part) for run, _, test in tested(variant) for part in test.breakdowns if part.name == name]


def of_row(evidence: Evidence, variant: VariantEvidence, name: str, row: str) -> Interval | None:
    """Return the mean over seeds, or folds, of one row of a breakdown, scaled; None without any value."""
    parts = broken_down(variant, name)
    figures = ((run, part.scale * part.values[row]) for run, part in parts if row in part.values)
    found = sample(sampled(evidence, figures), evidence.overlap)
    return None if found is None else interval(found, LEVEL)


def interval(found: Sample, level: float) -> Interval:
    """Return the t interval of a sample as reports hold it."""
    low, high = t_interval(found, level) or (None, None)
    return Interval(found.mean, low, high)


def paired(evidence: Evidence, variant: VariantEvidence) -> Comparison | None:
    """Compare a variant with its reference.

    None where either arm lacks a run, so that no arm is flattered, and where epochs were chosen on the test
    split, which flatters both by unknown amounts.
    """
    if evidence.is_optimistic:
        return None
    arms = [variant, evidence.reference_of(variant)]
    keys = [sorted((run.fold or 0, run.repetition) for run, _, _ in tested(arm)) for arm in arms]
    if keys[0] != keys[1] or not all(is_complete(arm) for arm in arms):
        return None
    there, here = (values(evidence, arm, evidence.metric) for arm in arms)
    return compare(there, here, evidence.overlap)


def gains(pair: Comparison, metric: Metric) -> Comparison:
    """Return a comparison turned so that higher is better: what verdicts are about."""
    if metric.direction == "maximize":
        return pair
    found = pair.differences
    return replace(pair, differences=replace(found, mean=-found.mean), wins=found.n - pair.wins)


def selected(trial: TrialEvidence, metric: Metric) -> float | None:
    """Return what a trial scored on the validation split, scaled; None where it did not run to its end."""
    if not isinstance(trial.outcome, RunResult) or trial.outcome.status != "finished":
        return None
    value = trial.outcome.validation.get(metric.name)
    return None if value is None else metric.scale * value


def reached(trial: TrialEvidence, metric: Metric) -> float | None:
    """Return the best that a trial scored on the validation split, also where it was stopped early."""
    if isinstance(trial.outcome, Stopped):
        curve = [e.validation[metric.name] for e in trial.outcome.history if metric.name in e.validation]
        return metric.scale * max(curve, key=metric.gain) if curve else None
    return selected(trial, metric)


def parameters(variant: VariantEvidence) -> int | None:
    """Return the number of trainable values, as counted or as a training reports it."""
    if variant.profile is not None:
        return variant.profile.parameters
    counts = (result.parameters for _, result, _ in tested(variant))
    return next((count for count in counts if count is not None), None)
