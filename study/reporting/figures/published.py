"""Figure of scores against cost, measured and published."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from study.analysis.findings import Findings
from study.analysis.sentences.published import measured
from study.analysis.sentences.units import heading
from study.records import PublishedTable
from study.reporting.figure_specs import plotted_benchmarks
from study.reporting.figures.panels import looks
from study.reporting.figures.style import ACCENT, PAGE_INCHES, REFERENCE
from study.reporting.text import one_line, wrapped

HEIGHT_INCHES = 3.2
"""Height of the panel of one benchmark."""


def published(findings: Findings) -> Figure:
    """Plot each benchmark in a panel: measured variants filled, published methods hollow, costs on a log scale."""
    tables = plotted_benchmarks(findings)
    figure = Figure(figsize=(PAGE_INCHES, HEIGHT_INCHES * len(tables)), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False)
    for axes, table in zip(panels[:, 0], tables, strict=True):
        _plot_benchmark(axes, findings, table)
    figure.legend(
        handles=[
            Line2D([], [], color=REFERENCE, marker="o", linestyle="", markersize=4, label="measured here"),
            Line2D(
                [],
                [],
                color=ACCENT,
                marker="o",
                linestyle="",
                markersize=4,
                markerfacecolor="none",
                label="published by others",
            ),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure


def _plot_benchmark(axes: Axes, findings: Findings, table: PublishedTable) -> None:
    label = heading(findings.primary)
    plotted = sorted(
        (result.gmacs, result.figures[label], f"{result.method}{'*' if result.note else ''}")
        for result in table.results
        if result.gmacs and label in result.figures
    )
    for number, (gmacs, value, name) in enumerate(plotted):
        axes.plot(gmacs, value, "o", color=ACCENT, markersize=4, markerfacecolor="none", zorder=2)
        _name(axes, name, gmacs, value, REFERENCE, height=2 if number % 2 else -7)
    shown = looks(findings.variants)
    for variant in measured(findings, table):
        score = variant.score
        if score is None or not variant.macs:
            continue
        gmacs, look = variant.macs / 1e9, shown[variant.name]
        if score.low is not None and score.high is not None:
            axes.plot([gmacs, gmacs], [score.low, score.high], color=look.colour, linewidth=1.4, zorder=3)
        axes.plot(gmacs, score.mean, look.marker, color=look.colour, markersize=4, zorder=4)
        _name(axes, variant.name, gmacs, score.mean, look.colour, height=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(visible=True)
    axes.set_xlabel(f"GMACs of one {one_line(findings.noun)}")
    axes.set_ylabel(f"test {label}")
    axes.set_title(one_line(table.title), loc="left")


def _name(axes: Axes, name: str, gmacs: float, value: float, colour: str, height: float) -> None:
    """Write a name at the right of a point, `height` points above it."""
    axes.annotate(
        wrapped(name, 24),
        (gmacs, value),
        xytext=(4, height),
        textcoords="offset points",
        fontsize=6,
        color=colour,
    )
