"""What searches and learning curves show about their own budget: limits, and the expected best of random trials."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from study.analysis.evidence import Evidence, TrialEvidence, VariantEvidence
from study.analysis.findings import Limit, LimitCode
from study.analysis.sentences.units import difference_with_unit, percent, quantity
from study.analysis.sentences.wording import join_words
from study.analysis.values.scores import final_validation, tested_runs, trial_status
from study.metrics import Metric
from study.statistics.curves import expected_best, late_slope
from study.statistics.description import mean

EDGE = 0.1
"""The share of a range, at either end, that counts as its edge; on the logarithm where the range is logarithmic."""
MOST_AT_EDGE = 0.5
"""A warning follows where more of the searches chose a value at one edge."""
MOST_POINTS = 1.0
"""The most percentage points that a training may still gain over its last third."""
FEWEST_TRIALS = 4
"""A search with fewer trials is too short to say whether it still improves."""


def _undertrained(evidence: Evidence) -> Iterator[Limit]:
    """Yield a limit where the validation metric rises by more than r an epoch, or 1 point over the last third."""
    metric, rising = evidence.metric, []
    for variant in evidence.variants:
        slopes = []
        for _, result, _ in tested_runs(variant):
            curve = {
                epoch.epoch: metric.scale * metric.gain(epoch.validation[metric.name])
                for epoch in result.history
                if metric.name in epoch.validation
            }
            if (late := late_slope(list(curve), list(curve.values()))) is not None:
                slopes.append(late)
        if not slopes:
            continue
        slope, gained = mean(s for s, _ in slopes), mean(s * span for s, span in slopes)
        if slope > evidence.rope or (metric.unit == "%" and gained > MOST_POINTS):
            rising.append(
                f"{difference_with_unit(metric.sign * slope, metric.unit)} an epoch for {variant.name}"
            )
    if rising:
        yield Limit(
            LimitCode.UNDERTRAINED,
            f"Training may be too short: over its last third {metric.title} on the validation split still changes by "
            f"{join_words(rising)}.",
        )


def _search_budget(evidence: Evidence) -> Iterator[Limit]:
    searches = {variant.name: len(_by_search(variant)) for variant in evidence.variants}
    budgets = {
        variant.name: len(variant.trials) / searches[variant.name] if searches[variant.name] else 0
        for variant in evidence.variants
    }
    if min(budgets.values()) != max(budgets.values()):
        unequal = join_words([f"{trials:g} for {name}" for name, trials in budgets.items()])
        yield Limit(
            LimitCode.UNEQUAL_BUDGETS, f"The searches had unequal budgets, in trials a search: {unequal}."
        )


def _trials_without_score(evidence: Evidence) -> Iterator[Limit]:
    for code, status, text in (
        (LimitCode.DIVERGED_TRIALS, "diverged", "Search trials diverged and count as the worst"),
        (LimitCode.FAILED_TRIALS, "failed", f"Search trials failed and {_consequence(evidence)}"),
    ):
        variants = []
        for variant in evidence.variants:
            ended_so = sum(trial_status(trial) == status for trial in variant.trials)
            if ended_so:
                variants.append(f"{ended_so} of {quantity(len(variant.trials), 'trial')} of {variant.name}")
        if variants:
            yield Limit(code, f"{text}: {join_words(variants)}.")


def _consequence(evidence: Evidence) -> str:
    is_shared = evidence.search is None or evidence.search.scope == "study"
    return "count for nothing" if is_shared else "leave their repetitions incomplete"


def _one_search(evidence: Evidence) -> Iterator[Limit]:
    if evidence.search is not None and evidence.search.scope == "study":
        yield Limit(
            LimitCode.ONE_SEARCH,
            "All repetitions of a variant have the hyperparameters found by one search, whose luck no interval "
            "contains: with no true difference, such designs gave a verdict of helps or hurts in 14 % of simulated "
            "studies with 4 trials and in 30 % with 12 trials and 10 repetitions, where 5 % are promised. More "
            'repetitions make it worse; [search] scope = "repetition" does not have this fault.',
        )


def _shared_folds(evidence: Evidence) -> Iterator[Limit]:
    if evidence.search is not None and evidence.search.shared_folds and len(evidence.folds) > 1:
        yield Limit(
            LimitCode.SHARED_FOLDS,
            "The search of the first fold chose the hyperparameters of all folds: test examples of the other folds "
            "were among its training and validation examples, so the scores are optimistic.",
        )


def _chosen_at_edge(evidence: Evidence) -> Iterator[Limit]:
    space = {} if evidence.search is None else evidence.search.space
    found = []
    for variant in evidence.variants:
        for key, dimension in space.items():
            values = [choice.parameters[key] for choice in variant.chosen if key in choice.parameters]
            positions = [
                position for value in values if (position := _position(value, dimension)) is not None
            ]
            for end, at_edge in (
                ("lower", sum(position <= EDGE for position in positions)),
                ("upper", sum(position >= 1 - EDGE for position in positions)),
            ):
                if at_edge > MOST_AT_EDGE * len(positions):
                    found.append(f"the {end} end of {key} in {at_edge} of {len(positions)} of {variant.name}")
    if found:
        yield Limit(
            LimitCode.CHOSEN_AT_EDGE,
            f"Searches chose values within {percent(EDGE)} of the end of a range: {join_words(found)}. A wider range "
            "may have better ones.",
        )


def _position(value: Any, dimension: Mapping[str, Any]) -> float | None:
    """Return where a value lies in its range, from 0 to 1; None for choices."""
    if "choices" in dimension:
        return None
    low, high = dimension["low"], dimension["high"]
    if dimension.get("log"):
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))


def _search_rises(evidence: Evidence) -> Iterator[Limit]:
    """Yield a limit where the last quarter of the trials still raises the best score by more than r."""
    rising = []
    for variant in evidence.variants:
        curves = [_best_gains(trials, evidence) for trials in _by_search(variant).values()]
        rises = [
            curve[-1] - curve[-1 - max(1, len(curve) // 4)] for curve in curves if len(curve) >= FEWEST_TRIALS
        ]
        if rises and mean(rises) > evidence.rope:
            rise = difference_with_unit(evidence.metric.sign * mean(rises), evidence.metric.unit)
            rising.append(f"{rise} for {variant.name}")
    if rising:
        yield Limit(
            LimitCode.SEARCH_RISES,
            "More trials may find better hyperparameters: the last quarter of the trials changed the best score on "
            f"the validation split by {join_words(rising)}.",
        )


def _best_gains(trials: list[TrialEvidence], evidence: Evidence) -> list[float]:
    """Return the best gain after 1, 2, … trials: the expected one of random trials, else in the order of the search."""
    gains = [_gain(trial, evidence.metric) for trial in trials]
    known = [gain for gain in gains if gain is not None]
    if evidence.search is not None and evidence.search.is_random and len(known) == len(gains):
        return expected_best(known)
    return [max(known[:number]) for number in range(1, len(known) + 1)]


def expected_best_scores(evidence: Evidence, variant: VariantEvidence) -> tuple[float, ...]:
    """Return the expected best validation score, scaled, of a search with 1, 2, … trials, the mean over searches.

    Empty where trials follow from one another, were stopped early or failed, or diverged without a worst value.
    """
    metric = evidence.metric
    if evidence.search is None or not evidence.search.is_random:
        return ()
    curves = []
    for trials in _by_search(variant).values():
        gains = [gain for trial in trials if (gain := _gain(trial, metric)) is not None]
        if len(gains) == evidence.search.trials:
            curves.append(expected_best(gains))
    return tuple(metric.sign * mean(values) for values in zip(*curves, strict=True))


def _gain(trial: TrialEvidence, metric: Metric) -> float | None:
    """Return a trial's final score, scaled, higher is better; the worst value if it diverged, None without a score."""
    value = final_validation(trial, metric)
    if value is None and trial_status(trial) == "diverged" and math.isfinite(metric.worst):
        value = metric.scale * metric.worst
    return None if value is None else metric.gain(value)


def _by_search(variant: VariantEvidence) -> dict[tuple[int, int], list[TrialEvidence]]:
    searches: dict[tuple[int, int], list[TrialEvidence]] = defaultdict(list)
    for trial in variant.trials:
        searches[trial.search].append(trial)
    return searches


CHECKS = (
    _undertrained,
    _search_budget,
    _trials_without_score,
    _one_search,
    _shared_folds,
    _chosen_at_edge,
    _search_rises,
)
