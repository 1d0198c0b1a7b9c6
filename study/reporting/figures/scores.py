"""Figures of test scores: repetitions, paired differences, breakdowns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.findings import BreakdownFinding, Findings, Interval, VariantFinding
from study.analysis.units import heading, label_with_unit
from study.metrics import Metric
from study.reporting.figure_specs import plotted_breakdown
from study.reporting.figures.panels import (
    Look,
    add_legend,
    colour_of,
    joined_lines,
    label_bottom,
    looks,
    name_with_runs,
    panel_columns,
    variant_panels,
    variant_rows,
)
from study.reporting.figures.style import BAND, FAINT, PAGE_INCHES, REFERENCE
from study.reporting.text import runs_of_planned, wrapped


def repetitions(findings: Findings) -> Figure:
    """Plot every repetition's score as a dot, with mean and interval, one row for each variant."""
    variants = findings.variants
    figure, axes = variant_rows(variants)
    by_repetition = [
        {(run.repetition, run.fold): run.score for run in variant.repetitions} for variant in variants
    ]
    shown = looks(variants)
    pairs = sorted(set().union(*by_repetition), key=str)
    lines = [[scores.get(pair, math.nan) for scores in by_repetition] for pair in pairs]
    for heights, values in joined_lines([range(len(variants))] * len(lines), lines):
        axes.plot(values, heights, color=FAINT, linewidth=0.6, zorder=1)
    for row, variant in enumerate(variants):
        scores = [run.score for run in variant.repetitions]
        look = shown[variant.name]
        _plot_dots(axes, scores, row, look)
        if variant.score is not None:
            _plot_mean(axes, variant.score, row + 0.24, look.colour)
        _write_at_right(axes, row, f"n = {runs_of_planned(len(variant.repetitions), variant.planned)}")
    _clip_axis(axes, *_bounds(findings.primary))
    axes.set_xlabel(f"test {heading(findings.primary)}")
    return figure


def differences(findings: Findings) -> Figure:
    """Plot paired differences from each variant's reference, with both intervals and the region of equivalence."""
    score_of = {
        (v.name, run.repetition, run.fold): run.score for v in findings.variants for run in v.repetitions
    }
    variants = [variant for variant in findings.variants if variant.difference is not None]
    shown = looks(findings.variants)
    figure, axes = variant_rows(variants)
    axes.axvspan(-findings.rope, findings.rope, color=BAND, alpha=0.35, linewidth=0, zorder=0)
    axes.axvline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    for row, variant in enumerate(variants):
        assert variant.difference is not None
        score_pairs = [
            (run.score, score_of.get((variant.reference, run.repetition, run.fold)))
            for run in variant.repetitions
        ]
        pairs = [score - other for score, other in score_pairs if other is not None]
        look = shown[variant.name]
        _plot_dots(axes, pairs, row, look)
        corrected = variant.difference.corrected
        if corrected.low is not None and corrected.high is not None:
            axes.plot(
                [corrected.low, corrected.high], [row + 0.24] * 2, color=look.colour, linewidth=0.7, zorder=2
            )
        _plot_mean(axes, variant.difference.interval, row + 0.24, look.colour)
        _write_at_right(axes, row, variant.verdict_text)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -1.25 * findings.rope), max(high, 1.25 * findings.rope))
    least, most = _bounds(findings.primary)
    if least is not None and most is not None:
        _clip_axis(axes, least - most, most - least)
    label = f"test {findings.primary.title} minus the reference's"
    axes.set_xlabel(label_with_unit(label, findings.primary.points))
    return figure


def breakdown(findings: Findings) -> Figure:
    """Plot the first breakdown, one panel for each variant, with the reference behind it."""
    part = plotted_breakdown(findings)
    assert part is not None
    is_share = part.unit == "%"
    variants = [variant for variant in findings.variants if variant.breakdowns.get(part.name)]
    columns = panel_columns(len(variants))
    width = PAGE_INCHES / max(columns, 2)
    height = 0.55 + 0.17 * len(part.rows)
    figure, panels = variant_panels(variants, columns, 1, height, name_with_runs)
    for index, variant in enumerate(variants):
        axes = panels[index // columns, index % columns]
        for behind in variants:
            if behind is variant or (behind.is_reference and not variant.is_reference):
                _plot_breakdown(axes, part, behind, offset=0.0 if behind is variant else 0.28)
        axes.set_ylim(len(part.rows) - 0.4, -0.6)
        axes.set_yticks(range(len(part.rows)), [wrapped(name, 14) for name in part.rows])
        if is_share:
            axes.set_xlim(-3, 103)
            axes.set_xticks([0, 25, 50, 75, 100] if width > 2 else [0, 50, 100])
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0, labelleft=index % columns == 0)
        label_bottom(axes, index, len(variants), columns, part.unit)
    colour = colour_of(variants[-1])
    handle = Line2D(
        [], [], color=colour, marker="o", markersize=3, linewidth=1, label="mean and 95 % interval"
    )
    add_legend(figure, [handle], variants)
    return figure


def _bounds(metric: Metric) -> tuple[float | None, float | None]:
    """Return the least and the greatest scaled value of a metric; None where there is no bound."""
    low = None if metric.low is None else metric.scale * metric.low
    return low, None if metric.high is None else metric.scale * metric.high


def _clip_axis(axes: Axes, least: float | None, most: float | None) -> None:
    """Keep the axis inside the values that are possible, with room for a dot at a bound."""
    low, high = axes.get_xlim()
    margin = 0.02 * (high - low)
    axes.set_xlim(
        low if least is None else max(low, least - margin), high if most is None else min(high, most + margin)
    )


def _plot_dots(axes: Axes, values: Sequence[float], row: float, look: Look) -> None:
    axes.plot(
        values,
        [row] * len(values),
        look.marker,
        color=look.colour,
        markersize=3.6,
        alpha=0.6,
        markeredgewidth=0,
        zorder=3,
    )


def _plot_mean(axes: Axes, interval: Interval, row: float, colour: str) -> None:
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [row] * 2, color=colour, linewidth=2.2, zorder=3)
    axes.plot(
        interval.mean,
        row,
        "D",
        color=colour,
        markersize=4.2,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=4,
    )


def _write_at_right(axes: Axes, row: float, text: str) -> None:
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def _plot_breakdown(axes: Axes, part: BreakdownFinding, variant: VariantFinding, offset: float) -> None:
    for row, name in enumerate(part.rows):
        interval = variant.breakdowns[part.name].get(name)
        if interval is None:
            continue
        if interval.low is not None and interval.high is not None:
            ends = [interval.low, interval.high]
            bounds = np.clip(ends, 0, 100) if part.unit == "%" else ends
            axes.plot(bounds, [row + offset] * 2, color=colour_of(variant), linewidth=1, zorder=2)
        axes.plot(interval.mean, row + offset, "o", color=colour_of(variant), markersize=3, zorder=3)
