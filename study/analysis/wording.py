"""Verdicts in words, for somebody who reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.findings import ClaimFinding, ClaimVerdict, Difference, Verdict
from study.analysis.scores import is_complete, tested, values
from study.analysis.units import amount, axis, difference, lower, number, signed, unit_of
from study.statistics.power import MOST_SEEDS
from study.statistics.samples import Comparison, Sample, t_interval

CLAIMED: dict[Verdict, ClaimVerdict] = {
    "helps": "supported",
    "hurts": "refuted",
    "equivalent": "refuted",
    "small": "refuted",
    "inconclusive": "undecided",
}
REVERSED: dict[Verdict, ClaimVerdict] = {**CLAIMED, "helps": "refuted", "hurts": "supported"}
"""Of a claim that the reference is the better one."""
ANSWERS: dict[ClaimVerdict, str] = {
    "supported": "Yes, ",
    "refuted": "No, ",
    "undecided": "",
    "not judged": "",
}
"""To a question whose formal version is the study's one claim."""

OPTIMISTIC = 'epochs and hyperparameters were chosen on the test split itself ("best epoch on test")'


def percent(share: float) -> str:
    """Return a share of 1 as per cent with three digits at most."""
    return f"{100 * share:.3g} %"


def joined(parts: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def counted(number: int, noun: str) -> str:
    """Return ``1 seed`` or ``5 seeds``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def sampled(evidence: Evidence, n: int) -> str:
    """Say what the n differences are differences of."""
    return f"over {counted(n, 'fold')}" if evidence.folds else f"with {counted(n, 'seed')}"


def found(evidence: Evidence) -> str:
    """Say what a verdict is conditional on where one search gave each variant its hyperparameters."""
    return ", with the hyperparameters found" if evidence.searched else ""


def rope(evidence: Evidence) -> str:
    """Return the least difference of interest with its unit."""
    unit = evidence.metric.unit
    return amount(difference(evidence.rope, unit), unit)


def sentence(
    evidence: Evidence, variant: VariantEvidence, pair: Comparison, said: Verdict, seeds_needed: int | None
) -> str:
    """Return what a comparison concluded, with the interval that decided it."""
    differences, alpha = pair.differences, evidence.alpha / evidence.comparisons
    metric, unit = evidence.metric, evidence.metric.unit
    level = 1 - 2 * alpha if said == "equivalent" else 1 - alpha
    bounds = t_interval(differences, level)
    ends = [difference(bound, unit) for bound in bounds or ()]
    spread = f", {percent(level)} interval {' to '.join(ends)}" if ends else ""
    inside = f", all within ±{difference(evidence.rope, unit)}" if said == "equivalent" else ""
    there, here = (fmean(values(evidence, arm, metric)) for arm in (variant, evidence.reference_of(variant)))
    scores = (
        f"{number(there, unit)} against {number(here, unit)}{unit_of(metric)} {metric.title} "
        f"({lower(metric, after='; ')}{amount(signed(differences.mean, unit), unit)}{spread}{inside})"
    )
    seeds, condition = sampled(evidence, differences.n), found(evidence)
    if said == "inconclusive":
        remedy = _remedy(evidence, differences, seeds_needed)
        return f"Undecided: {seeds}, {variant.name} scores {scores}; {remedy}{condition}."
    return f"{_concluded(evidence, variant, differences, said)}: {seeds} it scores {scores}{condition}."


def _concluded(evidence: Evidence, variant: VariantEvidence, differences: Sample, said: Verdict) -> str:
    if said == "equivalent":
        return f"{variant.name} is practically equivalent to {variant.reference}"
    if said == "small":
        side = "better" if evidence.metric.gain(differences.mean) > 0 else "worse"
        return f"{variant.name} is {side}, but by an estimate below the {rope(evidence)} that matter"
    return f"{variant.name} {said}"


def _remedy(evidence: Evidence, differences: Sample, seeds_needed: int | None) -> str:
    """Say what would resolve an inconclusive difference."""
    if differences.sd is None:
        return "one difference has no interval and decides nothing"
    if evidence.folds:
        return "folds, not seeds, limit this"
    same = "every seed shows the same difference, so its spread is unknown; " if differences.sd == 0 else ""
    if seeds_needed is None:
        return f"{same}no number of seeds up to {MOST_SEEDS} would resolve it"
    return f"{same}about {seeds_needed} seeds would resolve it"


def no_verdict(evidence: Evidence, variant: VariantEvidence) -> str:
    """Say why a variant could not be compared."""
    if evidence.is_optimistic:
        return f"No verdict on {variant.name}: {OPTIMISTIC}."
    reference = evidence.reference_of(variant)
    lacking = reference if not is_complete(reference) else variant
    who = f"the reference {lacking.name}" if lacking.is_reference else lacking.name
    runs = counted(lacking.planned, "confirmation run")
    done = len(tested(lacking))
    return f"No verdict on {variant.name}: {who} has results for {done or 'none'} of its {runs}."


def answer(
    evidence: Evidence, differences: Mapping[str, Difference | None], claims: tuple[ClaimFinding, ...]
) -> str:
    """Return the study's answer: the sentence of its only comparison, or every verdict in one."""
    if evidence.is_optimistic:
        return _optimistic(evidence)
    missing = [variant for variant in evidence.compared if differences[variant.name] is None]
    known = {name: difference for name, difference in differences.items() if difference is not None}
    if len(differences) == 1 and len(known) == 1:
        said = next(iter(known.values())).sentence
        return ANSWERS[claims[0].verdict] + said if len(claims) == 1 else said
    references = evidence.references
    against = references[0].name if len(references) == 1 else "the reference of each stratum"
    parts = list(_grouped(evidence, known))
    n = max((difference.n for difference in known.values()), default=0)
    groups = (
        f"Against {against}, in {axis(evidence.metric)}{lower(evidence.metric, ' (', ')')} {sampled(evidence, n)}: "
        f"{'; '.join(parts)}{found(evidence)}."
    )
    return " ".join([*([groups] if parts else []), *(no_verdict(evidence, variant) for variant in missing)])


def _optimistic(evidence: Evidence) -> str:
    """Say that there is no answer, before any figure."""
    scores = {variant.name: values(evidence, variant, evidence.metric) for variant in evidence.variants}
    unit = evidence.metric.unit
    means = [f"{number(fmean(found), unit)} for {name}" for name, found in scores.items() if found]
    means_text = f" As a description, mean {evidence.metric.title} on it: {joined(means)}." if means else ""
    return f"No verdict, every figure is optimistic: {OPTIMISTIC}.{means_text}"


def _grouped(evidence: Evidence, differences: Mapping[str, Difference]) -> Iterator[str]:
    unit = evidence.metric.unit
    groups: dict[Verdict, str] = {
        "helps": "{} help{s}",
        "hurts": "{} hurt{s}",
        "equivalent": "{} {are} practically equivalent",
        "small": "{} differ{s}, but by an estimate below the {rope} that matter",
        "inconclusive": "undecided: {}",
    }
    for verdict, words in groups.items():
        names = [
            f"{name} ({signed(d.interval.mean, unit)})"
            for name, d in differences.items()
            if d.verdict == verdict
        ]
        if names:
            s, are = ("s", "is") if len(names) == 1 else ("", "are")
            yield words.format(joined(names), s=s, are=are, rope=rope(evidence))
