"""Score against cost: the Pareto front of each stratum, and dominated variants not significantly below it."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.described import Tradeoff
from study.analysis.evidence import Evidence
from study.analysis.findings import VariantFinding, pareto_fronts
from study.analysis.values.scores import contrast, is_comparable
from study.statistics.sequential import critical
from study.statistics.verdicts import Critical


def tradeoff(evidence: Evidence, variants: Sequence[VariantFinding]) -> Tradeoff | None:
    """Return scores against the MACs, or else the parameters, of tested variants; None where neither differs.

    A dominated variant is not significantly below the front if no variant on it that costs no more is shown to be
    better: the Bonferroni interval of no such paired difference lies above 0. All these differences are one family of
    their own; with adaptive repetitions each is judged as strictly as at the first look.
    """
    label, costs = _cost(variants, evidence.noun)
    if not costs:
        return None
    fronts = pareto_fronts(variants, costs, evidence.metric)
    references = {variant.name: variant.reference for variant in variants}
    pairs = [
        (name, better)
        for front in fronts
        for name in costs
        if references[name] == references[front[0]] and name not in front and not evidence.is_optimistic
        for better in front
        if costs[better] <= costs[name]
    ]
    below = {name for name, better in pairs if _is_better(evidence, better, name, len(pairs))}
    near = dict.fromkeys(name for name, _ in pairs if name not in below)
    return Tradeoff(label, costs, fronts, tuple(near))


def _cost(variants: Sequence[VariantFinding], noun: str) -> tuple[str, dict[str, float]]:
    """Return the name and the values of the first cost that differs."""
    tested = [variant for variant in variants if variant.score is not None]
    costs: tuple[tuple[str, dict[str, float]], ...] = (
        (f"multiply-accumulates per {noun}", {v.name: float(v.macs) for v in tested if v.macs is not None}),
        ("parameters", {v.name: float(v.parameters) for v in tested if v.parameters is not None}),
    )
    return next((cost for cost in costs if len(set(cost[1].values())) > 1), ("", {}))


def _is_better(evidence: Evidence, that: str, against: str, pairs: int) -> bool:
    """Whether the paired difference of two variants is shown to be above 0, as one of a family of pairs."""
    weights = {that: 1.0, against: -1.0}
    found = contrast(evidence, weights) if is_comparable(evidence, weights) else None
    if found is None:
        return False
    looks = evidence.looks
    level = (
        critical(looks[0], looks, evidence.alpha, pairs)
        if looks
        else Critical.of_family(evidence.alpha, pairs)
    )
    interval = found.estimate(evidence).interval(1 - level.difference)
    return interval is not None and min(map(evidence.metric.gain, interval)) > 0
