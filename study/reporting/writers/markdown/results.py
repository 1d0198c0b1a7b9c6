"""The sections on claims, results and comparisons."""

from __future__ import annotations

from collections.abc import Callable

from study.analysis.findings import Difference, Findings, VariantFinding
from study.analysis.units import difference, heading, label_with_unit, quantity
from study.reporting import text
from study.reporting.figure_specs import corrected_level
from study.reporting.text import MISSING
from study.reporting.writers.markdown.blocks import Blocks, bullet_list, plain, sentence
from study.reporting.writers.markdown.phrases import compared_variants, metric_caption, rope_with_unit

UNPAIRED = "no paired repetition"
OPTIMISTIC_VERDICT = "none, optimistic"


def add_claims(report: Blocks, findings: Findings) -> None:
    """Add the verdict on each claim of the study."""
    if findings.claims:
        report.add(
            "## Claims",
            "Stated in the study; figures chosen on the test split cannot judge them."
            if findings.is_optimistic
            else "Stated in the study, decided by the verdicts below.",
            bullet_list(
                f"**{claim.verdict.capitalize()}:** {sentence(claim.text)} {sentence(claim.reason)}"
                for claim in findings.claims
            ),
        )


def add_results(report: Blocks, findings: Findings) -> None:
    """Add the main table, the comparisons and their figures."""
    metric = findings.primary
    level = corrected_level(findings)
    report.add("## Results")
    compared = compared_variants(findings)
    unit = f", in {metric.points}" if metric.unit else ""
    against = (
        f"Difference: from the reference, paired by repetition{unit} [95 % t interval]. "
        f"Verdict: by the {level} interval in Table 2 and the least difference of interest, "
        f"{rope_with_unit(findings)}. "
    )
    costs: dict[str, Callable[[VariantFinding], str]] = {"Training": lambda v: text.duration(v.train_seconds)}
    macs = ""
    if any(variant.macs is not None for variant in findings.variants):
        macs = "MACs: multiply-accumulates of one forward pass. "
        costs = {f"MACs per {findings.noun} (fvcore)": lambda v: text.operations(v.macs), **costs}
    if any(variant.parameters is not None for variant in findings.variants):
        costs = {"Parameters": lambda v: text.count(v.parameters), **costs}
    report.table(
        f"{metric_caption(metric)}: mean over n confirmation runs "
        f"[95 % t interval], without an interval where n < 2. {against if compared else ''}"
        f"{macs}Training: median wall time of one run.",
        {
            "Variant": "left",
            plain(heading(metric)): "right",
            "n": "right",
            plain(label_with_unit("Difference", metric.points)): "right",
            "Verdict": "left",
            **dict.fromkeys(map(plain, costs), "right"),
        },
        [
            [
                *_result_cells(
                    variant, OPTIMISTIC_VERDICT if findings.is_optimistic else UNPAIRED, metric.unit
                ),
                *(cell(variant) for cell in costs.values()),
            ]
            for variant in findings.variants
        ],
    )
    if compared:
        report.add(bullet_list(plain(difference.sentence) for _, difference in compared))
    failures = [
        f"{plain(variant.name)}: {plain(failure)}"
        for variant in findings.variants
        for failure in variant.failures
    ]
    if failures:
        report.add("Confirmation runs without a test result:", bullet_list(failures))
    if compared:
        _add_comparisons(report, findings, compared, level)
    report.figure("repetitions")
    report.figure("differences")


def _result_cells(variant: VariantFinding, without_verdict: str, unit: str) -> list[str]:
    difference = variant.difference
    if variant.is_reference:
        cell, verdict = MISSING, "reference"
    elif difference is None:
        cell, verdict = MISSING, without_verdict
    else:
        cell, verdict = text.difference_with_interval(difference.interval, unit), f"**{difference.verdict}**"
    return [
        plain(variant.name),
        text.mean_with_interval(variant.score, unit),
        text.runs_of_planned(len(variant.repetitions), variant.planned),
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
    report.table(
        f"The comparisons in detail. The {level} interval (α = {findings.alpha:g} over a family of {family}) decides "
        "the verdict; the columns to its right are descriptive. Won: repetitions or folds in which the variant was "
        "better, ties counted half. g: Hedges' effect size of the paired differences. r: correlation of the "
        "two variants' scores. p: paired t test, Holm's correction. Worse, same, better: posterior probability that "
        f"the mean difference {regions}. Needed: about how many repetitions would resolve an inconclusive comparison.",
        {
            "Variant": "left",
            plain(label_with_unit(f"{level} interval", findings.primary.points)): "right",
            "Won": "right",
            "g": "right",
            "r": "right",
            "p": "right",
            "Worse": "right",
            "Same": "right",
            "Better": "right",
            "Needed": "right",
        },
        [_comparison_cells(variant, difference, unit) for variant, difference in compared],
    )


def _comparison_cells(variant: VariantFinding, difference: Difference, unit: str) -> list[str]:
    return [
        plain(variant.name),
        text.difference_bounds(difference.corrected, unit),
        f"{difference.wins:g} of {difference.n}",
        text.decimals(difference.effect),
        text.decimals(difference.correlation),
        text.p_value(difference.p_holm),
        text.probability(difference.p_worse),
        text.probability(difference.p_equivalent),
        text.probability(difference.p_better),
        MISSING if difference.repetitions_needed is None else f"≈ {difference.repetitions_needed}",
    ]
