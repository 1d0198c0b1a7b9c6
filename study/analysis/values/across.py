"""What holds over all data sets of a study: interquartile means, profiles and ranks, as description."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from study.analysis.described import Across, AcrossRow, Interval
from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.values.scores import LEVEL, contrast
from study.statistics.datasets import (
    FEWEST_FOR_RANKS,
    Scores,
    interquartile_interval,
    interquartile_mean,
    profile,
    ranks,
)
from study.statistics.description import mean
from study.statistics.inference import FEWEST

DATASET = "dataset"
"""The factor whose levels are data sets."""
THRESHOLDS = 101
"""Scores at which a profile is computed."""


def across(evidence: Evidence) -> Across | None:
    """Return the scores of each method over all data sets; None where strata are no data sets, or one has no score.

    A method is what variants of different strata have in common: their levels but for those that tell strata apart.
    Folds are averaged first. Data sets count equally in profiles and ranks.
    """
    strata = [reference.levels for reference in evidence.references]
    within = {factor for factor in strata[0] if len({levels[factor] for levels in strata}) > 1}
    if DATASET not in within:
        return None
    methods: dict[str, list[VariantEvidence]] = {}
    for variant in evidence.variants:
        levels = [level for factor, level in variant.levels.items() if factor not in within]
        methods.setdefault(", ".join(levels), []).append(variant)
    scores = {name: _scores(evidence, variants) for name, variants in methods.items()}
    if any(len(own) < len(strata) or not all(each.size for each in own) for own in scores.values()):
        return None
    values = np.concatenate([each for own in scores.values() for each in own])
    thresholds = np.linspace(values.min(), values.max(), THRESHOLDS)
    rows = tuple(
        AcrossRow(
            name,
            _interval(scores[name]),
            None if variants[0].is_reference else _difference(evidence, variants),
            tuple(map(float, profile(scores[name], thresholds))),
        )
        for name, variants in methods.items()
    )
    found = Across(len(strata), tuple(map(float, thresholds)), rows)
    if len(strata) < FEWEST_FOR_RANKS or len(methods) < 3:
        return found
    gains = [[evidence.metric.gain(mean(each)) for each in own] for own in scores.values()]
    ranked = ranks(np.array(gains).T, evidence.alpha)
    return replace(
        found,
        rows=tuple(replace(row, rank=rank) for row, rank in zip(rows, ranked.means, strict=True)),
        p=ranked.p,
        critical_difference=ranked.critical_difference,
    )


def _scores(evidence: Evidence, variants: list[VariantEvidence]) -> Scores:
    """Return the score of each repetition, folds averaged, by data set."""
    contrasts = [contrast(evidence, {variant.name: 1.0}) for variant in variants]
    return [np.array([] if found is None else found.values) for found in contrasts]


def _difference(evidence: Evidence, variants: list[VariantEvidence]) -> Interval | None:
    """Return the interquartile mean of the paired differences from the reference."""
    pairs = [contrast(evidence, {each.name: 1.0, each.reference: -1.0}) for each in variants]
    found = [np.array(each.values) for each in pairs if each is not None]
    return _interval(found) if len(found) == len(variants) else None


def _interval(scores: Scores) -> Interval:
    """Return the interquartile mean; its interval where each data set has enough repetitions for one."""
    middle = interquartile_mean(scores)
    if min(own.size for own in scores) < FEWEST:
        return Interval(middle, None, None)
    return Interval(middle, *interquartile_interval(scores, LEVEL))
