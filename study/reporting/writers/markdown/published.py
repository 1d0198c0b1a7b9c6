"""The section on published results on the same benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.findings import Findings, VariantFinding
from study.analysis.published import measured, what_differs
from study.analysis.units import heading
from study.records import PublishedResult, PublishedTable
from study.reporting import text
from study.reporting.text import MISSING
from study.reporting.writers.markdown.blocks import Blocks, bullet_list, plain, sentence


def add_published(report: Blocks, findings: Findings) -> None:
    """Add published results on the same benchmarks, separate from this study's own."""
    for published in findings.published:
        _add_benchmark(report, findings, published)


def _add_benchmark(report: Blocks, findings: Findings, published: PublishedTable) -> None:
    noun = plain(findings.noun)
    size = f"They are of all {text.count(published.examples)} {noun}s of the benchmark"
    used = (
        ""
        if published.examples_here == published.examples
        else f"; this study uses {text.count(published.examples_here)}"
    )
    report.add(
        "## Published results, not measured here"
        if len(findings.published) == 1
        else f"## Published results on {plain(published.title)}, not measured here",
        f"Reference rows for {plain(published.title)}, copied from the sources named. No figure, difference or "
        f"verdict of this report uses them. {size}{used}. {f'{plain(published.remark)} ' if published.remark else ''}"
        "A dash: not verified.",
    )
    _add_measured(report, findings, published)
    report.published_table(
        f"Published by others on {plain(published.title)}, not measured by this study. GMACs: of one {noun}, as "
        "printed (papers call them FLOPs). Pretraining: only where the method's name states it. Source: "
        f"{'; '.join(f'{letter}, {plain(source)}' for letter, source in published.sources.items())}.",
        {
            "Published method": "left",
            "Year": "right",
            "Backbone": "left",
            "Params (M)": "right",
            "GMACs": "right",
            "Modality": "left",
            "Pretraining": "left",
            "Protocol": "left",
            **{plain(label): "right" for label in published.metrics},
            "Source": "left",
        },
        [_published_cells(result, published.metrics) for result in published.results],
    )
    remarks = [f"{plain(r.method)}: {sentence(r.note)}" for r in published.results if r.note]
    if remarks:
        report.add(bullet_list(remarks))
    if published.folds:
        most = max(len(row.figures) for row in published.folds)
        report.published_table(
            f"Published by others on {plain(published.title)}: {plain(published.fold_metric)} of single folds, to "
            "show how much folds differ.",
            {"Published method": "left", **{f"Fold {fold}": "right" for fold in range(1, most + 1)}},
            [[plain(row.method), *(f"{figure:.2f}" for figure in row.figures)] for row in published.folds],
        )


def _add_measured(report: Blocks, findings: Findings, published: PublishedTable) -> None:
    """Add the rows that this study measured on a benchmark, and what differs from the published ones."""
    variants = measured(findings, published)
    if not variants:
        return
    report.table(
        f"Measured by this study on {plain(published.title)}: mean and 95 % interval over repetitions, in the columns "
        "of the published rows below.",
        {
            "Measured variant": "left",
            "Params (M)": "right",
            "GMACs": "right",
            "Splits": "left",
            "Tested epoch": "left",
            "Input": "left",
            "Views": "left",
            **{plain(label): "right" for label in published.metrics},
        },
        [_measured_cells(findings, variant, published.metrics) for variant in variants],
    )
    report.add(plain(what_differs(findings, published)))
    report.figure("published")


def _measured_cells(findings: Findings, variant: VariantFinding, metrics: Sequence[str]) -> list[str]:
    protocol = findings.protocols[variant.name]
    scores = {heading(findings.primary): variant.score}
    scores |= {heading(m): variant.secondary.get(m.name) for m in findings.metrics[1:]}
    return [
        plain(variant.name),
        MISSING if variant.parameters is None else f"{variant.parameters / 1e6:.2f}",
        MISSING if variant.macs is None else f"{variant.macs / 1e9:.2f}",
        plain(protocol.splits),
        plain(protocol.selection),
        plain(protocol.input),
        plain(protocol.views) or MISSING,
        *(text.mean_with_interval(scores.get(label)) for label in metrics),
    ]


def _published_cells(result: PublishedResult, metrics: Sequence[str]) -> list[str]:
    return [
        plain(result.method),
        MISSING if result.year is None else str(result.year),
        plain(result.backbone),
        text.setting(result.params),
        text.setting(result.gmacs),
        plain(result.modality),
        plain(result.pretraining) or MISSING,
        plain(result.protocol) or MISSING,
        *(f"{result.figures[name]:.2f}" if name in result.figures else MISSING for name in metrics),
        plain(" ".join(result.sources)),
    ]
