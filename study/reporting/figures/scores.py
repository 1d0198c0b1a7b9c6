"""Figures of test scores: repetitions and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from study.analysis.described import Interval
from study.analysis.findings import Findings
from study.analysis.sentences.units import heading, label_with_unit
from study.reporting.figure_specs import MOST_ARMS_IN_ROWS, most_different
from study.reporting.figures.panels import (
    Look,
    bounds,
    clipped,
    joined_lines,
    looks,
    variant_rows,
)
from study.reporting.figures.style import BAND, FAINT, REFERENCE
from study.reporting.text import runs_of_planned


def repetitions(findings: Findings) -> Figure:
    """Plot every repetition's score as a dot, with mean and interval, one row for each variant."""
    variants = most_different(findings, findings.variants, MOST_ARMS_IN_ROWS)
    figure, axes = variant_rows(variants)
    by_repetition = [
        {(run.repetition, run.fold): run.score for run in variant.repetitions} for variant in variants
    ]
    shown = looks(findings.variants)
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
    axes.set_xlim(clipped(axes.get_xlim(), *bounds(findings.primary)))
    axes.set_xlabel(f"test {heading(findings.primary)}")
    return figure


def differences(findings: Findings) -> Figure:
    """Plot paired differences from each variant's reference, with both intervals and the region of equivalence."""
    score_of = {
        (v.name, run.repetition, run.fold): run.score for v in findings.variants for run in v.repetitions
    }
    compared = [variant for variant in findings.variants if variant.difference is not None]
    variants = most_different(findings, compared, MOST_ARMS_IN_ROWS)
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
    least, most = bounds(findings.primary)
    if least is not None and most is not None:
        axes.set_xlim(clipped(axes.get_xlim(), least - most, most - least))
    label = f"test {findings.primary.title} minus the reference's"
    axes.set_xlabel(label_with_unit(label, findings.primary.points))
    return figure


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
