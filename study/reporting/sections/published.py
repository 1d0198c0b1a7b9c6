"""The section on published results on the same benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.published import measured, what_differs
from study.analysis.sentences.units import heading
from study.records import PublishedResult, PublishedTable
from study.reporting import text
from study.reporting.sections.blocks import Blocks, sentence
from study.reporting.text import MISSING


def add_published(report: Blocks, findings: Findings) -> None:
    """Add published results on the same benchmarks, separate from this study's own."""
    for published in findings.published:
        _add_benchmark(report, findings, published)


def _add_benchmark(report: Blocks, findings: Findings, published: PublishedTable) -> None:
    noun = findings.noun
    size = f"They are of all {text.count(published.examples)} {noun}s of the benchmark"
    used = (
        ""
        if published.examples_here == published.examples
        else f"; this study uses {text.count(published.examples_here)}"
    )
    report.heading(
        "Published results, not measured here"
        if len(findings.published) == 1
        else f"Published results on {published.title}, not measured here",
        level=3,
    )
    report.text(
        f"Reference rows for {published.title}, copied from the sources named. No difference or "
        f"verdict of this report uses them. {size}{used}. {f'{published.remark} ' if published.remark else ''}"
        "A dash: not verified.",
    )
    _add_measured(report, findings, published)
    report.published_table(
        f"Published by others on {published.title}, not measured by this study. GMACs: of one {noun}, as "
        "printed (papers call them FLOPs). Pretraining: only where the method's name states it. Source: "
        f"{'; '.join(f'{letter}, {source}' for letter, source in published.sources.items())}.",
        {
            "Published method": "left",
            "Year": "right",
            "Backbone": "left",
            "Params (M)": "right",
            "GMACs": "right",
            "Modality": "left",
            "Pretraining": "left",
            "Protocol": "left",
            **dict.fromkeys(published.metrics, "right"),
            "Source": "left",
        },
        [_published_cells(result, published.metrics) for result in published.results],
    )
    remarks = [f"{r.method}: {sentence(r.note)}" for r in published.results if r.note]
    if remarks:
        report.bullets(remarks)
    if published.folds:
        most = max(len(row.figures) for row in published.folds)
        report.published_table(
            f"Published by others on {published.title}: {published.fold_metric} of single folds, to "
            "show how much folds differ.",
            {"Published method": "left", **{f"Fold {fold}": "right" for fold in range(1, most + 1)}},
            [[row.method, *(f"{figure:.2f}" for figure in row.figures)] for row in published.folds],
        )


def _add_measured(report: Blocks, findings: Findings, published: PublishedTable) -> None:
    """Add the rows that this study measured on a benchmark, and what differs from the published ones."""
    variants = measured(findings, published)
    if not variants:
        return
    report.table(
        f"Measured by this study on {published.title}: mean and 95 % interval over repetitions, in the columns "
        "of the published rows below.",
        {
            "Measured variant": "left",
            "Params (M)": "right",
            "GMACs": "right",
            "Splits": "left",
            "Tested epoch": "left",
            "Input": "left",
            "Views": "left",
            **dict.fromkeys(published.metrics, "right"),
        },
        [_measured_cells(findings, variant, published.metrics) for variant in variants],
    )
    report.text(what_differs(findings, published))
    report.figure("published")


def _measured_cells(findings: Findings, variant: VariantFinding, metrics: Sequence[str]) -> list[str]:
    protocol = findings.protocols[variant.name]
    scores = {heading(findings.primary): variant.score}
    scores |= {heading(m): variant.secondary.get(m.name) for m in findings.metrics[1:]}
    return [
        variant.name,
        MISSING if variant.parameters is None else f"{variant.parameters / 1e6:.2f}",
        MISSING if variant.macs is None else f"{variant.macs / 1e9:.2f}",
        protocol.splits,
        protocol.selection,
        protocol.input,
        protocol.views or MISSING,
        *(text.mean_with_interval(scores.get(label)) for label in metrics),
    ]


def _published_cells(result: PublishedResult, metrics: Sequence[str]) -> list[str]:
    return [
        result.method,
        MISSING if result.year is None else str(result.year),
        result.backbone,
        text.setting(result.params),
        text.setting(result.gmacs),
        result.modality,
        result.pretraining or MISSING,
        result.protocol or MISSING,
        *(f"{result.figures[name]:.2f}" if name in result.figures else MISSING for name in metrics),
        " ".join(result.sources),
    ]
