"""The figure of performance profiles over several data sets."""

from __future__ import annotations

import seaborn as sns
from matplotlib.figure import Figure

from study.analysis.findings import Findings
from study.analysis.sentences.units import heading
from study.reporting.figures.panels import looks
from study.reporting.figures.style import PAGE_INCHES
from study.reporting.text import wrapped

LEGEND_CHARACTERS = 34


def profiles(findings: Findings) -> Figure:
    """Plot the share of runs with a score above each threshold, a line for each method."""
    found = findings.across
    assert found is not None
    figure = Figure(figsize=(PAGE_INCHES, 2.4), layout="constrained")
    axes = figure.subplots()
    shown = looks(findings.variants)
    for row, variant in zip(found.rows, findings.variants, strict=False):  # those of the first data set
        look = shown[variant.name]
        axes.step(
            found.thresholds,
            row.profile,
            where="post",
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markevery=len(found.thresholds) // 8,
            markersize=3.5,
            linewidth=1.1,
            label=wrapped(row.name, LEGEND_CHARACTERS),
        )
    sns.despine(ax=axes)
    axes.grid(visible=True)
    axes.set_xlabel(f"test {heading(findings.primary)}")
    axes.set_ylabel("share of runs above")
    axes.set_ylim(-0.02, 1.02)
    figure.legend(loc="outside right center")
    return figure
