"""Verdicts and answers as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from study.analysis.described import Interval
from study.analysis.evidence import Evidence, VariantEvidence
from study.analysis.findings import ClaimFinding, Difference
from study.analysis.sentences.units import (
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
from study.analysis.values.scores import (
    Contrast,
    difference_interval,
    diverged_runs,
    has_ended,
    level_of,
    metric_values,
    paired_scores,
    tested_runs,
)
from study.statistics import description
from study.statistics.inference import FEWEST, Estimate
from study.statistics.verdicts import ClaimVerdict, Verdict

ANSWER_PREFIXES: dict[ClaimVerdict, str] = {
    "supported": "Yes, ",
    "refuted": "No, ",
    "better-by-less": "Yes, but by less than {rope}: ",
    "undecided": "",
    "not judged": "",
}
"""Begin the answer of a study with one comparison and one claim."""

LACKS_PREDICTIONS = (
    "the study asks for intervals that speak for new examples, and there are runs without predictions that give their "
    "score"
)
OPTIMISTIC = 'epochs and hyperparameters were chosen on the test split itself ("best epoch on test")'


def join_words(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def sample_size(evidence: Evidence, variant: VariantEvidence, n: int) -> str:
    """Return how many values a mean is over: ``with 5 repetitions`` or ``over 5 folds``."""
    return (
        f"over {quantity(n, 'fold')}" if evidence.folds_of(variant) else f"with {quantity(n, 'repetition')}"
    )


def search_condition(evidence: Evidence) -> str:
    """Return the condition of a verdict where one search gave each variant its hyperparameters."""
    return ", with the hyperparameters found" if evidence.has_one_search else ""


def rope_with_unit(evidence: Evidence) -> str:
    """Return the least difference of interest with its unit."""
    return difference_with_unit(evidence.rope, evidence.metric.unit)


def comparison_sentence(
    evidence: Evidence,
    variant: VariantEvidence,
    found: Contrast,
    verdict: Verdict | None,
    reaches_rope: bool,
) -> str:
    """Return the conclusion of a comparison, with the interval that decided it, or with the values below three."""
    decided = found.estimate(evidence)
    levels = level_of(evidence, variant)
    confidence = 1 - (2 * levels.equivalence if verdict == "equivalent" else levels.difference)
    metric, unit = evidence.metric, evidence.metric.unit
    interval = difference_interval(decided, metric, confidence)
    if verdict is None:
        ends = f", {'each' if decided.n > 1 else 'only'}: {_listed(found.values, unit)}"
    elif interval.low is None or interval.high is None:
        ends = ""
    else:
        level = percent(confidence)
        low, high = difference(interval.low, unit), difference(interval.high, unit)
        ends = f", {level} interval {low} to {high}"
    inside = f", all within ±{difference(evidence.rope, unit)}" if verdict == "equivalent" else ""
    mean, reference_mean = map(description.mean, paired_scores(evidence, variant))
    scores = (
        f"{number(mean, unit)} against {number(reference_mean, unit)}{unit_suffix(metric)} {metric.title} "
        f"({direction_note(metric, after='; ')}{with_unit(signed_difference(decided.mean, unit), unit)}"
        f"{ends}{inside})"
    )
    size = sample_size(evidence, variant, decided.n)
    conditions = (
        f"{_incomplete(evidence, found)}{search_condition(evidence)}{scope_condition(evidence, verdict)}"
    )
    if verdict is None:
        unit_noun = "folds" if evidence.folds_of(variant) else "repetitions"
        return f"No verdict below {FEWEST} {unit_noun}: {size}, {variant.name} scores {scores}{conditions}."
    if verdict == "inconclusive":
        why = _without_spread(evidence, variant, decided)
        return f"Undecided: {size}, {variant.name} scores {scores}{why}{conditions}."
    conclusion = _conclusion(evidence, variant, decided, verdict, reaches_rope)
    return f"{conclusion}: {size} it scores {scores}{conditions}."


def _listed(values: Sequence[float], unit: str) -> str:
    return ", ".join(signed_difference(value, unit) for value in values)


def _incomplete(evidence: Evidence, found: Contrast) -> str:
    """Return which pairs are missing or diverged, as clauses; nothing where none is."""
    missing = f"; {quantity(found.missing, 'failed pair')} left out" if found.missing else ""
    if not found.diverged:
        return missing
    worst = number(evidence.metric.scale * evidence.metric.worst, evidence.metric.unit)
    counts = "counts" if found.diverged == 1 else "count"
    return (
        f"{missing}; {found.diverged} of {found.pairs} diverged and {counts} as "
        f"{worst}{unit_suffix(evidence.metric)}"
    )


def scope_condition(evidence: Evidence, verdict: Verdict | None) -> str:
    """Return that a verdict is on the given test examples, where its interval speaks for no others."""
    if verdict is None or evidence.scope == "population":
        return ""
    return f", on these test {evidence.noun}s"


def other_scope_sentence(evidence: Evidence, variant: VariantEvidence, other: Interval | None) -> str:
    """Return the interval for the scope that does not decide, or why there is none."""
    noun, unit = f"{evidence.noun}s", evidence.metric.unit
    if evidence.folds_of(variant):
        return f"The interval over folds speaks for new {noun}; there is none for exactly these test {noun}."
    whom = (
        f"For exactly these test {noun}" if evidence.scope == "population" else f"For new {noun} like these"
    )
    if other is None:
        return f"{whom}: not known, as runs keep no predictions that give their score."
    if other.low is None or other.high is None:
        return f"{whom}: no interval of one repetition."
    ends = f"{difference(other.low, unit)} to {with_unit(difference(other.high, unit), unit)}"
    decides = (
        "it decides nothing here" if evidence.scope == "test-set" else "without the luck of their choice"
    )
    return f"{whom}: 95 % interval {ends}; {decides}."


def _conclusion(
    evidence: Evidence, variant: VariantEvidence, decided: Estimate, verdict: Verdict, reaches_rope: bool
) -> str:
    if verdict == "equivalent":
        low, high = decided.interval(1 - level_of(evidence, variant).difference) or (0.0, 0.0)
        side = "better" if evidence.metric.gain(decided.mean) > 0 else "worse"
        less = f", {side} by less than {rope_with_unit(evidence)}" if low > 0 or high < 0 else ""
        return f"{variant.name} is practically equivalent to {variant.reference}{less}"
    if verdict == "slight":
        side = "better" if evidence.metric.gain(decided.mean) > 0 else "worse"
        return f"{variant.name} is slightly {side}, by an estimate below the {rope_with_unit(evidence)} that matter"
    least = f" by at least {rope_with_unit(evidence)}" if reaches_rope else ""
    return f"{variant.name} {verdict}{least}"


def _without_spread(evidence: Evidence, variant: VariantEvidence, decided: Estimate) -> str:
    """Return that all differences are equal, as a clause; nothing where they are not."""
    if decided.sd != 0:
        return ""
    each = "fold" if evidence.folds_of(variant) else "repetition"
    if decided.mean == 0:
        return f"; both are identical in every {each}"
    return f"; every {each} shows the same difference, so its spread is not known"


def no_verdict_sentence(evidence: Evidence, variant: VariantEvidence) -> str:
    """Return why a variant could not be compared."""
    reference = evidence.reference_of(variant)
    if evidence.is_optimistic:
        return f"No verdict on {variant.name}: {OPTIMISTIC}."
    unfinished = next((arm for arm in (reference, variant) if not has_ended(arm)), None)
    if unfinished is not None:
        name = f"the reference {unfinished.name}" if unfinished.is_reference else unfinished.name
        planned = quantity(unfinished.planned, "repetition")
        done = len(tested_runs(unfinished))
        return f"No verdict on {variant.name}: {name} has results for {done or 'none'} of its {planned}."
    if evidence.lacks_predictions:
        return f"No verdict on {variant.name}: {LACKS_PREDICTIONS}."
    if any(map(diverged_runs, (reference, variant))) and not isfinite(evidence.metric.worst):
        return (
            f"No verdict on {variant.name}: a repetition diverged, and {evidence.metric.title} has no worst value "
            "that it could count as."
        )
    return f"No verdict on {variant.name}: it shares no complete repetition with {reference.name}."


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
        if len(claims) != 1:
            return sentence
        return ANSWER_PREFIXES[claims[0].verdict].format(rope=rope_with_unit(evidence)) + sentence
    references = evidence.references
    against = references[0].name if len(references) == 1 else "the reference of each stratum"
    groups = list(_verdict_groups(evidence, known))
    sizes = [sample_size(evidence, v, known[v.name].n) for v in evidence.compared if v.name in known]
    condition = f"{search_condition(evidence)}{scope_condition(evidence, 'inconclusive')}"
    summary = (
        f"Against {against}, in {difference_axis(evidence.metric)}{direction_note(evidence.metric, ' (', ')')} "
        f"{join_words(list(dict.fromkeys(sizes)))}: {'; '.join(groups)}{condition}."
    )
    without_verdict = (no_verdict_sentence(evidence, variant) for variant in missing)
    return " ".join([*([summary] if groups else []), *without_verdict])


def _optimistic_answer(evidence: Evidence) -> str:
    """Return that there is no verdict, then the means."""
    scores = {
        variant.name: metric_values(evidence, variant, evidence.metric) for variant in evidence.variants
    }
    unit = evidence.metric.unit
    means = [
        f"{number(description.mean(values), unit)} for {name}" for name, values in scores.items() if values
    ]
    text = f" As a description, mean {evidence.metric.title} on it: {join_words(means)}." if means else ""
    return f"No verdict, every figure is optimistic: {OPTIMISTIC}.{text}"


def _verdict_groups(evidence: Evidence, differences: Mapping[str, Difference]) -> Iterator[str]:
    """Yield the variants of each verdict as a clause, with their mean differences."""
    unit = evidence.metric.unit
    clauses: dict[Verdict | None, str] = {
        "helps": "{} help{s}",
        "hurts": "{} hurt{s}",
        "equivalent": "{} {are} practically equivalent",
        "slight": "{} differ{s} slightly, by an estimate below the {rope} that matter",
        "inconclusive": "undecided: {}",
        None: "no verdict, as there are too few repetitions: {}",
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
