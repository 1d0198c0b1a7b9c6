"""A variant's test scores, as samples: one value a seed, or one a fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from study.analysis.evidence import Confirmation, Evidence, TrialEvidence, VariantEvidence
from study.analysis.findings import Interval
from study.records import RunResult, Stopped, TestResult
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


def values(evidence: Evidence, variant: VariantEvidence, metric: str) -> list[float]:
    """Return a test metric in points, one value a seed in their order.

    Where the study has folds it is one value a fold, its seeds averaged: seeds of one fold share their test
    clips, so they are not further samples of what the folds differ in.
    """
    return sampled(
        evidence,
        ((run, 100 * test.metrics[metric]) for run, _, test in tested(variant) if metric in test.metrics),
    )


def sampled(evidence: Evidence, figures: Iterable[tuple[Confirmation, float]]) -> list[float]:
    """Return a figure's values, one a seed or, where the study has folds, one a fold, in their order."""
    groups: dict[int, list[float]] = defaultdict(list)
    for run, value in figures:
        groups[run.fold if evidence.folds and run.fold is not None else run.repetition].append(value)
    return [fmean(groups[group]) for group in sorted(groups)]


def score(evidence: Evidence, variant: VariantEvidence, metric: str) -> Interval | None:
    """Return a metric's mean over seeds, or folds, with its 95 % interval; None without any value."""
    found = sample(values(evidence, variant, metric), evidence.overlap)
    return None if found is None else interval(found, LEVEL)


def of_scene(evidence: Evidence, variant: VariantEvidence, scene: str) -> Interval | None:
    """Return the mean WAR of one scene's test clips over seeds, or folds; None without any value."""
    shares = ((run, 100 * run.scenes[scene]) for run, _, _ in tested(variant) if scene in run.scenes)
    found = sample(sampled(evidence, shares), evidence.overlap)
    return None if found is None else interval(found, LEVEL)


def interval(found: Sample, level: float) -> Interval:
    """Return the t interval of a sample as reports hold it."""
    low, high = t_interval(found, level) or (None, None)
    return Interval(found.mean, low, high)


def paired(evidence: Evidence, variant: VariantEvidence) -> Comparison | None:
    """Compare a variant with its reference.

    None where either arm lacks a run, so that no arm is flattered, and where epochs were chosen on the test
    split, which flatters both by amounts that nobody knows.
    """
    if evidence.is_optimistic:
        return None
    arms = [variant, evidence.reference_of(variant)]
    keys = [sorted((run.fold or 0, run.repetition) for run, _, _ in tested(arm)) for arm in arms]
    if keys[0] != keys[1] or not all(is_complete(arm) for arm in arms):
        return None
    there, here = (values(evidence, arm, evidence.metric) for arm in arms)
    return compare(there, here, evidence.overlap)


def selected(trial: TrialEvidence, metric: str) -> float | None:
    """Return what a trial scored on the selection split, in points; None where it did not run to its end."""
    if not isinstance(trial.outcome, RunResult) or trial.outcome.status != "finished":
        return None
    return 100 * trial.outcome.selection[metric]


def reached(trial: TrialEvidence, metric: str) -> float | None:
    """Return the best that a trial scored on the selection split, also where it was stopped early."""
    if isinstance(trial.outcome, Stopped):
        return 100 * max(epoch.selection[metric] for epoch in trial.outcome.history)
    return selected(trial, metric)


def parameters(variant: VariantEvidence) -> int | None:
    """Return the number of trainable values, as counted or as a training has told."""
    if variant.profile is not None:
        return variant.profile.parameters
    return next((result.parameters for _, result, _ in tested(variant)), None)
