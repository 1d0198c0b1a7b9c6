"""Verdicts and answers as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.findings import ClaimFinding, ClaimVerdict, Difference
from study.analysis.scores import is_complete, metric_values, tested_runs
from study.analysis.units import (
    difference,
    difference_axis,
    difference_with_unit,
    direction_note,
    number,
    percent,
    quantity,
    signed_difference,
    unit_suffix,
    with_unit,
)
from study.statistics.power import MOST_REPETITIONS
from study.statistics.samples import Comparison, Sample, t_interval
from study.statistics.verdicts import Verdict

ANSWER_PREFIXES: dict[ClaimVerdict, str] = {
    "supported": "Yes, ",
    "refuted": "No, ",
    "undecided": "",
    "not judged": "",
}
"""Begin the answer of a study with one comparison and one claim."""

OPTIMISTIC = 'epochs and hyperparameters were chosen on the test split itself ("best epoch on test")'


def join_words(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def sample_size(evidence: Evidence, n: int) -> str:
    """Return how many values a mean is over: ``with 5 repetitions`` or ``over 5 folds``."""
    return f"over {quantity(n, 'fold')}" if evidence.folds else f"with {quantity(n, 'repetition')}"


def search_condition(evidence: Evidence) -> str:
    """Return the condition of a verdict where one search gave each variant its hyperparameters."""
    return ", with the hyperparameters found" if evidence.searched else ""


def rope_with_unit(evidence: Evidence) -> str:
    """Return the least difference of interest with its unit."""
    return difference_with_unit(evidence.rope, evidence.metric.unit)


def comparison_sentence(
    evidence: Evidence,
    variant: VariantEvidence,
    pair: Comparison,
    verdict: Verdict,
    repetitions_needed: int | None,
) -> str:
    """Return the conclusion of a comparison, with the interval that decided it."""
    differences, alpha = pair.differences, evidence.alpha / evidence.comparisons
    metric, unit = evidence.metric, evidence.metric.unit
    level = 1 - 2 * alpha if verdict == "equivalent" else 1 - alpha
    ends = [difference(bound, unit) for bound in t_interval(differences, level) or ()]
    interval = f", {percent(level)} interval {' to '.join(ends)}" if ends else ""
    inside = f", all within ±{difference(evidence.rope, unit)}" if verdict == "equivalent" else ""
    mean, reference_mean = (
        fmean(metric_values(evidence, arm, metric)) for arm in (variant, evidence.reference_of(variant))
    )
    scores = (
        f"{number(mean, unit)} against {number(reference_mean, unit)}{unit_suffix(metric)} {metric.title} "
        f"({direction_note(metric, after='; ')}{with_unit(signed_difference(differences.mean, unit), unit)}"
        f"{interval}{inside})"
    )
    size, condition = sample_size(evidence, differences.n), search_condition(evidence)
    if verdict == "inconclusive":
        resolution = _resolution(evidence, differences, repetitions_needed)
        return f"Undecided: {size}, {variant.name} scores {scores}; {resolution}{condition}."
    conclusion = _conclusion(evidence, variant, differences, verdict)
    return f"{conclusion}: {size} it scores {scores}{condition}."


def _conclusion(evidence: Evidence, variant: VariantEvidence, differences: Sample, verdict: Verdict) -> str:
    if verdict == "equivalent":
        return f"{variant.name} is practically equivalent to {variant.reference}"
    if verdict == "small":
        side = "better" if evidence.metric.gain(differences.mean) > 0 else "worse"
        return (
            f"{variant.name} is {side}, but by an estimate below the {rope_with_unit(evidence)} that matter"
        )
    return f"{variant.name} {verdict}"


def _resolution(evidence: Evidence, differences: Sample, repetitions_needed: int | None) -> str:
    """Return what would resolve an inconclusive difference."""
    if differences.sd is None:
        return "one difference has no interval and decides nothing"
    if evidence.folds:
        return "the number of folds limits this, not the number of repetitions"
    equal = (
        "every repetition shows the same difference, so its spread is unknown; "
        if differences.sd == 0
        else ""
    )
    if repetitions_needed is None:
        return f"{equal}no number of repetitions up to {MOST_REPETITIONS} would resolve it"
    return f"{equal}about {repetitions_needed} repetitions would resolve it"


def no_verdict_sentence(evidence: Evidence, variant: VariantEvidence) -> str:
    """Return why a variant could not be compared."""
    if evidence.is_optimistic:
        return f"No verdict on {variant.name}: {OPTIMISTIC}."
    reference = evidence.reference_of(variant)
    incomplete = reference if not is_complete(reference) else variant
    name = f"the reference {incomplete.name}" if incomplete.is_reference else incomplete.name
    planned = quantity(incomplete.planned, "confirmation run")
    done = len(tested_runs(incomplete))
    return f"No verdict on {variant.name}: {name} has results for {done or 'none'} of its {planned}."


def answer(
    evidence: Evidence, differences: Mapping[str, Difference | None], claims: tuple[ClaimFinding, ...]
) -> str:
    """Return the study's answer: the sentence of its only comparison, or every verdict in one."""
    if evidence.is_optimistic:
        return _optimistic_answer(evidence)
    missing = [variant for variant in evidence.compared if differences[variant.name] is None]
    known = {name: difference for name, difference in differences.items() if difference is not None}
    if len(differences) == 1 and len(known) == 1:
        sentence = next(iter(known.values())).sentence
        return ANSWER_PREFIXES[claims[0].verdict] + sentence if len(claims) == 1 else sentence
    references = evidence.references
    against = references[0].name if len(references) == 1 else "the reference of each stratum"
    groups = list(_verdict_groups(evidence, known))
    n = max((difference.n for difference in known.values()), default=0)
    summary = (
        f"Against {against}, in {difference_axis(evidence.metric)}{direction_note(evidence.metric, ' (', ')')} "
        f"{sample_size(evidence, n)}: {'; '.join(groups)}{search_condition(evidence)}."
    )
    without_verdict = (no_verdict_sentence(evidence, variant) for variant in missing)
    return " ".join([*([summary] if groups else []), *without_verdict])


def _optimistic_answer(evidence: Evidence) -> str:
    """Return that there is no verdict, then the means."""
    scores = {
        variant.name: metric_values(evidence, variant, evidence.metric) for variant in evidence.variants
    }
    unit = evidence.metric.unit
    means = [f"{number(fmean(values), unit)} for {name}" for name, values in scores.items() if values]
    text = f" As a description, mean {evidence.metric.title} on it: {join_words(means)}." if means else ""
    return f"No verdict, every figure is optimistic: {OPTIMISTIC}.{text}"


def _verdict_groups(evidence: Evidence, differences: Mapping[str, Difference]) -> Iterator[str]:
    """Yield the variants of each verdict as a clause, with their mean differences."""
    unit = evidence.metric.unit
    clauses: dict[Verdict, str] = {
        "helps": "{} help{s}",
        "hurts": "{} hurt{s}",
        "equivalent": "{} {are} practically equivalent",
        "small": "{} differ{s}, but by an estimate below the {rope} that matter",
        "inconclusive": "undecided: {}",
    }
    for verdict, clause in clauses.items():
        names = [
            f"{name} ({signed_difference(d.interval.mean, unit)})"
            for name, d in differences.items()
            if d.verdict == verdict
        ]
        if names:
            s, are = ("s", "is") if len(names) == 1 else ("", "are")
            yield clause.format(join_words(names), s=s, are=are, rope=rope_with_unit(evidence))
