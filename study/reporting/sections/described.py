"""The sections without verdicts: secondary metrics and measures of the networks' parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from study.analysis.described import Interval, MeasureFinding
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import heading
from study.reporting import text
from study.reporting.document import emphasis
from study.reporting.sections.blocks import Blocks, sentence
from study.reporting.sections.phrases import figure_runs_note, metric_caption, name_with_runs
from study.reporting.text import MISSING


def add_secondary_metrics(report: Blocks, findings: Findings) -> None:
    """Add a table for each metric beside the primary one."""
    scored = [variant for variant in findings.variants if variant.secondary]
    if not scored:
        return
    report.heading("Secondary metrics", level=3)
    for metric in findings.metrics:
        if any(metric.name in variant.secondary for variant in scored):
            report.table(
                f"{metric_caption(metric)}: mean over repetitions [95 % t interval].",
                {"Variant": "left", heading(metric): "right"},
                [
                    [
                        name_with_runs(variant),
                        text.mean_with_interval(variant.secondary.get(metric.name), metric.unit)
                        + figure_runs_note(variant, metric.name),
                    ]
                    for variant in scored
                ],
            )


def add_measures(report: Blocks, findings: Findings) -> None:
    """Add a table for each measure of the networks' parts, with the chance level in its last row."""
    missing = [f"{v.name}: {line}" for v in findings.variants for line in v.unmeasured]
    if not findings.measures and not missing:
        return
    report.heading("Measures of the networks' parts", level=3)
    for measure in findings.measures:
        heads = [f"{figure.name} ({figure.unit})" for figure in measure.figures]
        names_by_description: dict[str, list[str]] = {}
        for figure in measure.figures:
            names_by_description.setdefault(sentence(figure.about), []).append(figure.name)
        legend = " ".join(f"{', '.join(names)}: {about}" for about, names in names_by_description.items())
        report.table(
            f"{sentence(measure.about)} Means over repetitions [95 % t interval] on the test split. "
            f"{legend} Chance: the value expected without any effect.",
            {"Variant": "left", **dict.fromkeys(heads, "right")},
            [
                *([name_with_runs(v), *_measure_cells(v, measure)] for v in findings.variants),
                [emphasis("chance"), *_chance_cells(findings.variants, measure)],
            ],
        )
    if missing:
        report.text("Not measured:")
        report.bullets(missing)


def _measure_cells(variant: VariantFinding, measure: MeasureFinding) -> Iterator[str]:
    for figure in measure.figures:
        name = f"{measure.name}/{figure.name}"
        yield text.measure_with_interval(variant.measures.get(name), figure.unit) + figure_runs_note(
            variant, name
        )


def _chance_cells(variants: Sequence[VariantFinding], measure: MeasureFinding) -> Iterator[str]:
    """Yield each figure's level of chance; where variants differ in their data, the range."""
    for figure in measure.figures:
        name = f"{measure.name}/{figure.name}"
        levels = sorted(variant.chance[name] for variant in variants if name in variant.chance)
        ends = [
            text.measure_with_interval(Interval(level, None, None), figure.unit)
            for level in levels[:1] + levels[-1:]
        ]
        yield " to ".join(dict.fromkeys(ends)) or MISSING
