"""The report of a study's findings."""

from __future__ import annotations

from study.analysis.findings import Findings
from study.analysis.sentences.units import direction_note
from study.reporting.document import Document, Line, code, emphasis, join, strong
from study.reporting.figure_specs import corrected_level, figure_specs
from study.reporting.pictures import NO_PICTURES, Pictures
from study.reporting.sections.across import add_across
from study.reporting.sections.appendix import add_appendix
from study.reporting.sections.blocks import Blocks
from study.reporting.sections.citation import CITED, add_citation
from study.reporting.sections.classes import add_parts
from study.reporting.sections.costs import add_costs, add_times
from study.reporting.sections.described import add_measures, add_secondary_metrics
from study.reporting.sections.effects import add_effects
from study.reporting.sections.known import add_known
from study.reporting.sections.phrases import compared_variants, rope_with_unit
from study.reporting.sections.published import add_published
from study.reporting.sections.results import add_claims, add_comparisons, add_results
from study.reporting.sections.warnings import add_warnings
from study.reporting.text import OPTIMISTIC

REPRODUCTION = ("commit", "versions", "hardware", "data digest")
"""The facts that stand beside the command; the others are in a table."""


def document(findings: Findings, pictures: Pictures = NO_PICTURES) -> Document:
    """Return the report: question and answer first, then the limits of the conclusion, then details."""
    prefix = join(emphasis(OPTIMISTIC), " ") if findings.is_optimistic else ""
    report = Blocks(figure_specs(findings, pictures), prefix)
    _add_answer(report, findings)
    add_claims(report, findings)
    add_results(report, findings)
    add_effects(report, findings)
    _add_reproduction(report, findings)
    report.heading("Appendix")
    add_comparisons(report, findings)
    report.text("Everything from here on is described, not tested: no verdict rests on it.")
    add_across(report, findings)
    add_secondary_metrics(report, findings)
    add_parts(report, findings)
    add_measures(report, findings)
    add_costs(report, findings)
    add_times(report, findings)
    add_published(report, findings)
    add_known(report, findings)
    _add_reading(report, findings)
    _add_training(report)
    add_appendix(report, findings)
    add_citation(report, findings)
    return report.document(findings.name, findings.title)


def _add_answer(report: Blocks, findings: Findings) -> None:
    report.heading(findings.title, level=1)
    report.byline(findings.authors, findings.affiliation)
    report.text(strong("Question."), " ", findings.question)
    report.text(strong("Answer."), " ", findings.answer)
    add_warnings(report, findings)


def _add_reproduction(report: Blocks, findings: Findings) -> None:
    """Add the command, the commit and the environment, where a ledger knows them."""
    file = findings.facts.get("study file")
    if file is None:
        return
    report.heading("How to reproduce")
    command = f"study run {file} {findings.facts.get('options', '')}".rstrip()
    items: list[Line] = [join("Train what is missing and write this report: ", code(command), ".")]
    items.append(join("Train single runs again and compare: ", code(f"study reproduce {findings.name}"), "."))
    items += [
        f"{name.capitalize()}: {findings.facts[name]}" for name in REPRODUCTION if name in findings.facts
    ]
    report.bullets(items)


def _add_training(report: Blocks) -> None:
    if report.has_figure("learning") or report.has_figure("search"):
        report.heading("Training and search", level=3)
        report.figure("learning")
        report.figure("search", floats=True)


def _add_reading(report: Blocks, findings: Findings) -> None:
    notes: list[Line] = [*findings.notes]
    if compared_variants(findings):
        notes.insert(0, _verdict_note(findings))
    if notes:
        report.heading("How to read this", level=3)
        report.bullets(notes)
    if findings.facts:
        report.heading("What was run", level=3)
        shown = (CITED,) if "study file" not in findings.facts else (*REPRODUCTION, CITED)
        facts = [(name, fact) for name, fact in findings.facts.items() if name not in shown]
        report.plain_table({"Item": "left", "Value": "left"}, facts)


def _verdict_note(findings: Findings) -> Line:
    rope = rope_with_unit(findings)
    better = direction_note(findings.primary, " (", ")")
    level = corrected_level(findings)
    inside = corrected_level(findings, tails=2)
    return join(
        f"Verdicts, for a least difference of interest of {rope}{better}. ",
        strong("Helps"),
        ", ",
        strong("hurts"),
        f": the {level} interval excludes 0 and the mean difference is at least {rope}. ",
        strong("Equivalent"),
        f": the {inside} interval lies within ±{rope}. ",
        strong("Slight"),
        f": the {level} interval excludes 0 and the mean difference is below {rope}: real, perhaps too small to "
        "matter. ",
        strong("Inconclusive"),
        ": none of these, a lack of evidence, not evidence of absence. Fewer than three repetitions, or folds, get "
        "no verdict.",
    )
