"""Claims, results and comparisons."""

from __future__ import annotations

from collections.abc import Callable

from study.analysis.findings import Difference, Findings, VariantFinding
from study.analysis.units import difference, heading, in_brackets
from study.reporting import text as formats
from study.reporting.figure_specs import corrected_level
from study.reporting.text import MISSING
from study.reporting.writers.markdown.blocks import Blocks, bullet_list, plain, sentence
from study.reporting.writers.markdown.phrases import compared_variants, metric_caption, rope_with_unit

WITHOUT_SEED = "no paired seed"
WITHOUT_VERDICT = "none, optimistic"


def add_claims(report: Blocks, findings: Findings) -> None:
    """Add the verdict on each claim of the study."""
    if findings.claims:
        report.add(
            "## Claims",
            "Stated in the study; figures chosen on the test split judge none of them."
            if findings.is_optimistic
            else "Stated in the study, judged by the verdicts below.",
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
        f"Difference: from the reference, paired by seed{unit} [95 % t interval]. "
        f"Verdict: by the {level} interval in Table 2 and the least difference of interest, "
        f"{rope_with_unit(findings)}. "
    )
    costs: dict[str, Callable[[VariantFinding], str]] = {
        "Training": lambda v: formats.duration(v.train_seconds)
    }
    macs = ""
    if any(variant.macs is not None for variant in findings.variants):
        macs = "MACs: multiply-accumulates of one forward pass. "
        costs = {f"MACs per {findings.noun} (fvcore)": lambda v: formats.operations(v.macs), **costs}
    if any(variant.parameters is not None for variant in findings.variants):
        costs = {"Parameters": lambda v: formats.count(v.parameters), **costs}
    report.table(
        f"{metric_caption(metric)}: mean over n confirmation runs "
        f"[95 % t interval], without an interval where n < 2. {against if compared else ''}"
        f"{macs}Training: median wall time of one run.",
        {
            "Variant": "left",
            plain(heading(metric)): "right",
            "n": "right",
            plain(in_brackets("Difference", metric.points)): "right",
            "Verdict": "left",
            **dict.fromkeys(map(plain, costs), "right"),
        },
        [
            [
                *_result_cells(
                    variant, WITHOUT_VERDICT if findings.is_optimistic else WITHOUT_SEED, metric.unit
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
        report.add("Confirmation runs without a result:", bullet_list(failures))
    if compared:
        _add_comparisons(report, findings, compared, level)
    report.figure("seeds")
    report.figure("differences")


def _result_cells(variant: VariantFinding, without_verdict: str, unit: str) -> list[str]:
    difference = variant.difference
    if variant.is_reference:
        delta, verdict = MISSING, "reference"
    elif difference is None:
        delta, verdict = MISSING, without_verdict
    else:
        delta, verdict = formats.difference(difference.interval, unit), f"**{difference.verdict}**"
    n = len(variant.seeds)
    return [
        plain(variant.name),
        formats.score(variant.score, unit),
        str(n) if n == variant.planned else f"{n} of {variant.planned}",
        delta,
        verdict,
    ]


def _add_comparisons(
    report: Blocks, findings: Findings, compared: list[tuple[VariantFinding, Difference]], level: str
) -> None:
    unit = findings.primary.unit
    near, rope = difference(findings.rope, unit), rope_with_unit(findings)
    is_lower = findings.primary.direction == "minimize"
    better = (
        f"lies above {near}, within ±{near} or below −{rope}"
        if is_lower
        else (f"lies below −{near}, within ±{near} or above {rope}")
    )
    family = "1 comparison" if findings.comparisons == 1 else f"{findings.comparisons} comparisons"
    report.table(
        f"The comparisons in detail. The {level} interval (α = {findings.alpha:g} over a family of {family}) decides "
        "the verdict; everything to its right is description. Won: seeds on which the variant was better, ties "
        "counted half. g: Hedges' effect size of the paired differences. r: correlation of the two arms over seeds. "
        "p: paired t test, after Holm. Worse, same, better: posterior probability that the mean difference "
        f"{better}. Seeds: about how many would resolve what is inconclusive.",
        {
            "Variant": "left",
            plain(in_brackets(f"{level} interval", findings.primary.points)): "right",
            "Won": "right",
            "g": "right",
            "r": "right",
            "p": "right",
            "Worse": "right",
            "Same": "right",
            "Better": "right",
            "Seeds": "right",
        },
        [_comparison_cells(variant, found, unit) for variant, found in compared],
    )


def _comparison_cells(variant: VariantFinding, difference: Difference, unit: str) -> list[str]:
    return [
        plain(variant.name),
        formats.bounds(difference.corrected, unit),
        f"{difference.wins:g} of {difference.n}",
        formats.decimals(difference.effect),
        formats.decimals(difference.correlation),
        formats.p_value(difference.p_holm),
        formats.probability(difference.p_worse),
        formats.probability(difference.p_equivalent),
        formats.probability(difference.p_better),
        MISSING if difference.seeds_needed is None else f"≈ {difference.seeds_needed}",
    ]
