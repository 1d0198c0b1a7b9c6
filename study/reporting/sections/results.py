"""The sections on claims, results and comparisons."""

from __future__ import annotations

from collections.abc import Callable

from study.analysis.findings import TOO_FEW, ClaimFinding, Difference, Findings, VariantFinding
from study.analysis.sentences.units import difference, heading, label_with_unit, quantity, with_unit
from study.reporting import text
from study.reporting.document import Line, join, strong
from study.reporting.figure_specs import corrected_level
from study.reporting.sections.blocks import Blocks, sentence
from study.reporting.sections.paper import factor_columns
from study.reporting.sections.phrases import compared_variants, metric_caption, rope_with_unit
from study.reporting.text import MISSING

MOST_SENTENCES = 12
"""More comparisons are in the table alone."""
UNPAIRED = "none"
OPTIMISTIC_VERDICT = "none, optimistic"


def add_claims(report: Blocks, findings: Findings) -> None:
    """Add the verdict on each claim of the study."""
    if findings.claims:
        report.heading("Claims")
        report.text(_claims_note(findings))
        report.bullets(
            join(
                strong(f"{_claim_verdict(findings, claim)}:"),
                f" {sentence(claim.text)}",
                "" if claim.reason in findings.answer else f" {sentence(claim.reason)}",
            )
            for claim in findings.claims
        )


def _claim_verdict(findings: Findings, claim: ClaimFinding) -> str:
    if claim.verdict == "better-by-less":
        return f"Better, by less than {rope_with_unit(findings)}"
    return claim.verdict.capitalize()


def _claims_note(findings: Findings) -> str:
    """Return when the claims were stated, and what decides them."""
    if findings.is_optimistic:
        return "Stated in the study; figures chosen on the test split cannot judge them."
    if findings.known is None:
        return "Decided by the verdicts below."
    if findings.known.declared_before:
        return "Stated in the study before its results were shown, decided by the verdicts below."
    return (
        "Stated in the study, decided by the verdicts below; settings were changed after results were shown."
    )


def add_results(report: Blocks, findings: Findings) -> None:
    """Add the main table, the comparisons and their figures."""
    metric = findings.primary
    level = corrected_level(findings)
    report.heading("Results")
    compared = compared_variants(findings)
    levels = factor_columns(findings)
    unit = f", in {metric.points}" if metric.unit else ""
    against = (
        f"Difference: from the reference, paired by repetition{unit} [95 % interval]. "
        f"Verdict: by the {level} interval of the comparison and the least difference of interest, "
        f"{rope_with_unit(findings)}. "
    )
    costs: dict[str, Callable[[VariantFinding], str]] = {}
    training = ""
    if any(variant.train_seconds is not None for variant in findings.variants):
        training = "Training: median wall time of one run."
        costs = {"Training": lambda v: text.duration(v.train_seconds)}
    macs = ""
    if any(variant.macs is not None for variant in findings.variants):
        macs = "MACs: multiply-accumulates of one forward pass. "
        costs = {f"MACs per {findings.noun} (fvcore)": lambda v: text.operations(v.macs), **costs}
    if any(variant.parameters is not None for variant in findings.variants):
        costs = {"Parameters": lambda v: text.count(v.parameters), **costs}
    report.table(
        f"{metric_caption(metric)}: mean over n repetitions "
        f"[95 % interval{', ' + text.scope(findings) if findings.scope == 'test-set' else ''}], without an interval "
        f"where repetitions are too few. {against if compared else ''}"
        f"{macs}{training}".rstrip(),
        {
            "Variant": "left",
            **dict.fromkeys((head for head, _ in levels), "left"),
            heading(metric): "right",
            "n": "right",
            label_with_unit("Difference", metric.points): "right",
            "Verdict": "left",
            **dict.fromkeys(costs, "right"),
        },
        [
            [
                variant.name,
                *(cells[row] for _, cells in levels),
                *_result_cells(
                    variant, OPTIMISTIC_VERDICT if findings.is_optimistic else UNPAIRED, metric.unit
                ),
                *(cell(variant) for cell in costs.values()),
            ]
            for row, variant in enumerate(findings.variants)
        ],
    )
    if findings.capacity:
        report.text(strong("Size."), " ", " ".join(map(sentence, findings.capacity)))
    failures = [f"{variant.name}: {failure}" for variant in findings.variants for failure in variant.failures]
    if failures:
        report.text("Repetitions without a test result:")
        report.bullets(failures)
    report.figure("differences")
    report.figure("tradeoff")


def add_comparisons(report: Blocks, findings: Findings) -> None:
    """Add the comparisons in words and numbers, the power of the verdict and every repetition as a dot."""
    compared = compared_variants(findings)
    if compared:
        report.heading("The comparisons in detail", level=3)
        if len(compared) <= MOST_SENTENCES and (sentences := _unsaid_sentences(findings, compared)):
            report.bullets(sentences)
        _add_comparisons(report, findings, compared, corrected_level(findings))
    _add_power(report, findings)
    report.figure("repetitions", floats=len(findings.variants) > MOST_SENTENCES)


def _unsaid_sentences(findings: Findings, compared: list[tuple[VariantFinding, Difference]]) -> list[str]:
    """Return the comparisons in words, without what the answer or a claim says; what holds for all comes last."""
    said = [findings.answer, *(claim.reason for claim in findings.claims)]
    others = list(dict.fromkeys(found.other_sentence for _, found in compared if found.other_sentence))
    shared = others if len(others) == 1 else []
    lines = []
    for variant, found in compared:
        first = "" if any(found.sentence in each for each in said) else found.sentence
        second = "" if shared else found.other_sentence
        if first or second:
            lines.append(f"{first or f'{variant.name}:'} {second}".strip())
    return [*lines, *shared]


def _result_cells(variant: VariantFinding, without_verdict: str, unit: str) -> list[Line]:
    difference = variant.difference
    verdict: Line
    if variant.is_reference:
        cell, verdict = MISSING, "reference"
    elif difference is None:
        cell, verdict = MISSING, without_verdict
    else:
        cell = text.difference_with_interval(difference.interval, unit)
        verdict = TOO_FEW if difference.verdict is None else strong(difference.verdict)
    return [
        text.mean_with_interval(variant.score, unit),
        text.runs_of_planned(len(variant.repetitions), variant.planned)
        + (
            f", {diverged} diverged" if (diverged := sum(run.diverged for run in variant.repetitions)) else ""
        ),
        cell,
        verdict,
    ]


def _add_comparisons(
    report: Blocks, findings: Findings, compared: list[tuple[VariantFinding, Difference]], level: str
) -> None:
    unit = findings.primary.unit
    number, rope = difference(findings.rope, unit), rope_with_unit(findings)
    regions = (
        f"lies above {number}, within ±{number} or below −{rope}"
        if findings.primary.direction == "minimize"
        else f"lies below −{number}, within ±{number} or above {rope}"
    )
    family = quantity(findings.comparisons, "comparison")
    others = _other_column(findings)
    report.table(
        f"The {level} interval (α = {findings.alpha:g} over a family of {family}) decides "
        "the verdict; the columns to its right are descriptive. "
        f"{_other_caption(findings)}Won: repetitions or folds in which the variant was better, ties counted half. "
        "g: Hedges' effect size of the paired differences. r: correlation of the two variants' scores. [95 % interval] "
        "where there are enough repetitions. p: of a mean difference of 0, with Holm's correction. Worse, same, "
        f"better: posterior probability that the mean difference {regions}.",
        {
            "Variant": "left",
            label_with_unit(f"{level} interval", findings.primary.points): "right",
            **({} if others is None else {label_with_unit(others, findings.primary.points): "right"}),
            "Won": "right",
            "g": "right",
            "r": "right",
            "p": "right",
            "Worse": "right",
            "Same": "right",
            "Better": "right",
        },
        [
            _comparison_cells(variant, difference, unit, others is not None)
            for variant, difference in compared
        ],
    )


def _other_column(findings: Findings) -> str | None:
    """Return the head of the column for the scope that does not decide; None where no comparison has it."""
    if all(variant.difference is None or variant.difference.other is None for variant in findings.variants):
        return None
    noun = f"{findings.noun}s"
    return f"These {noun}" if findings.scope == "population" else f"New {noun}"


def _other_caption(findings: Findings) -> str:
    noun = f"{findings.noun}s"
    column = _other_column(findings)
    if column is None:
        return ""
    whom = f"exactly these test {noun}" if findings.scope == "population" else f"new {noun} like these"
    return f"{column}: 95 % interval for {whom}. "


def _comparison_cells(
    variant: VariantFinding, difference: Difference, unit: str, with_other: bool
) -> list[str]:
    others = [MISSING if difference.other is None else text.difference_bounds(difference.other, unit)]
    return [
        variant.name,
        text.difference_bounds(difference.corrected, unit),
        *(others if with_other else []),
        f"{difference.wins:g} of {difference.n}",
        text.decimals_with_interval(difference.effect, difference.effect_interval),
        text.decimals_with_interval(difference.correlation, difference.correlation_interval),
        text.p_value(difference.p_holm),
        text.probability(difference.p_worse),
        text.probability(difference.p_equivalent),
        text.probability(difference.p_better),
    ]


def _add_power(report: Blocks, findings: Findings) -> None:
    """Add the power of the verdict by number of repetitions, from a spread known before the study."""
    power = findings.power
    if power is None:
        return
    unit = findings.primary.unit
    sd = text.difference_with_bounds(power.spread.sd, power.interval, unit)
    origin = f"from the study {power.spread.origin}" if power.spread.origin else "as the study expects"
    report.table(
        "Power: the probability that a true difference is called helps, for a standard deviation of the paired "
        f"differences of {sd}, {origin}. It was known before the study: it is no figure of its results.",
        {
            "Repetitions": "right",
            **{f"true {with_unit(f'{effect:g}', unit)}": "right" for effect in power.effects},
        },
        [[", ".join(map(str, row.design)), *map(text.probability, row.power)] for row in power.rows],
    )
