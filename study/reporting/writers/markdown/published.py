"""Results that others published on the same benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from study.analysis.findings import Findings
from study.records import PublishedResult
from study.reporting import text as formats
from study.reporting.text import MISSING
from study.reporting.writers.markdown.blocks import Blocks, bullet_list, plain, sentence


def add_published(report: Blocks, findings: Findings) -> None:
    """What others printed on the same benchmark, apart from all that was measured."""
    found = findings.published
    if found is None:
        return
    noun = plain(findings.noun)
    size = f"They are of all {formats.count(found.examples)} {noun}s of the benchmark"
    here = (
        ""
        if found.examples_here == found.examples
        else f"; this study uses {formats.count(found.examples_here)}"
    )
    report.add(
        "## Published results, not measured here",
        f"Reference rows for {plain(found.title)}, copied from the sources named. No figure, difference or verdict of "
        f"this report knows of them. {size}{here}. {f'{plain(found.remark)} ' if found.remark else ''}"
        "A dash was not verified.",
    )
    report.borrowed_table(
        f"Published by others on {plain(found.title)}, not measured by this study. GMACs: of one {noun}, as printed "
        "(papers call them FLOPs). Pretraining: only where the method's name tells it. Source: "
        f"{'; '.join(f'{letter}, {plain(text)}' for letter, text in found.sources.items())}.",
        {
            "Published method": "left",
            "Year": "right",
            "Backbone": "left",
            "Params (M)": "right",
            "GMACs": "right",
            "Modality": "left",
            "Pretraining": "left",
            "Protocol": "left",
            **{plain(label): "right" for label in found.metrics},
            "Source": "left",
        },
        [_published_cells(result, found.metrics) for result in found.results],
    )
    remarks = [f"{plain(r.method)}: {sentence(r.note)}" for r in found.results if r.note]
    if remarks:
        report.add(bullet_list(remarks))
    if found.folds:
        most = max(len(row.figures) for row in found.folds)
        report.borrowed_table(
            f"Published by others on {plain(found.title)}: {plain(found.fold_metric)} of single folds, to show how "
            "much folds differ.",
            {"Published method": "left", **{f"Fold {fold}": "right" for fold in range(1, most + 1)}},
            [[plain(row.method), *(f"{figure:.2f}" for figure in row.figures)] for row in found.folds],
        )


def _published_cells(result: PublishedResult, metrics: Sequence[str]) -> list[str]:
    return [
        plain(result.method),
        MISSING if result.year is None else str(result.year),
        plain(result.backbone),
        formats.setting(result.params),
        formats.setting(result.gmacs),
        plain(result.modality),
        plain(result.pretraining) or MISSING,
        plain(result.protocol) or MISSING,
        *(f"{result.figures[name]:.2f}" if name in result.figures else MISSING for name in metrics),
        plain(" ".join(result.sources)),
    ]
