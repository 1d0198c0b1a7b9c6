"""The report as Markdown."""

from __future__ import annotations

from study.analysis.findings import Findings
from study.analysis.units import direction_note
from study.reporting.figure_specs import corrected_level, figure_specs
from study.reporting.sections.appendix import add_appendix
from study.reporting.sections.blocks import Blocks, bullet_list, plain, table
from study.reporting.sections.costs import add_costs, add_times
from study.reporting.sections.described import add_breakdowns, add_measures, add_secondary_metrics
from study.reporting.sections.known import add_known
from study.reporting.sections.phrases import compared_variants, rope_with_unit
from study.reporting.sections.published import add_published
from study.reporting.sections.results import add_claims, add_results
from study.reporting.text import OPTIMISTIC


def render(findings: Findings) -> str:
    """Return the report: question and answer first, then the limits of the conclusion, then details."""
    report = Blocks(figure_specs(findings), f"*{OPTIMISTIC}* " if findings.is_optimistic else "")
    _add_answer(report, findings)
    add_claims(report, findings)
    add_results(report, findings)
    add_secondary_metrics(report, findings)
    add_breakdowns(report, findings)
    add_measures(report, findings)
    add_costs(report, findings)
    add_times(report, findings)
    add_published(report, findings)
    add_known(report, findings)
    _add_reading(report, findings)
    _add_training(report, findings)
    add_appendix(report, findings)
    return "\n\n".join(report.blocks) + "\n"


def _add_answer(report: Blocks, findings: Findings) -> None:
    report.add(
        f"# {plain(findings.title)}",
        f"**Question.** {plain(findings.question)}",
        f"**Answer.** {plain(findings.answer)}",
    )
    if findings.limits:
        limits = "\n".join(f"> - {plain(limit.sentence)}" for limit in findings.limits)
        report.add(f"> **Warnings: what limits this conclusion**\n>\n{limits}")


def _add_training(report: Blocks, findings: Findings) -> None:
    specs = figure_specs(findings)
    if "learning" in specs or "search" in specs:
        report.add("## Training and search")
        report.figure("learning")
        report.figure("search")


def _add_reading(report: Blocks, findings: Findings) -> None:
    notes = [plain(note) for note in findings.notes]
    if compared_variants(findings):
        notes.insert(0, _verdict_note(findings))
    if notes:
        report.add("## How to read this", bullet_list(notes))
    if findings.facts:
        report.add(
            "## What was run",
            table(
                {"Item": "left", "Value": "left"},
                [[plain(name), plain(value)] for name, value in findings.facts.items()],
            ),
        )


def _verdict_note(findings: Findings) -> str:
    rope = rope_with_unit(findings)
    better = direction_note(findings.primary, " (", ")")
    level = corrected_level(findings)
    inside = corrected_level(findings, tails=2)
    return (
        f"Verdicts, for a least difference of interest of {rope}{better}. **Helps**, **hurts**: the {level} interval "
        f"excludes 0 and the mean difference is at least {rope}. **Equivalent**: the {inside} interval "
        f"lies within ±{rope}. **Slight**: the {level} interval excludes 0 and the mean "
        f"difference is below {rope}: real, perhaps too small to matter. **Inconclusive**: none of these, a lack of "
        "evidence, not evidence of absence. Fewer than three repetitions, or folds, get no verdict."
    )
