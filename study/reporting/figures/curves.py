"""Figures of training and search over epochs and trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.findings import Findings, VariantFinding
from study.analysis.units import heading
from study.reporting.figure_specs import has_learning_curves
from study.reporting.figures.panels import (
    add_legend,
    colour_of,
    integer_ticks,
    joined_lines,
    label_bottom,
    name_with_runs,
    panel_columns,
    variant_panels,
)
from study.reporting.figures.style import ACCENT, REFERENCE

PANEL_INCHES = 1.35


def learning(findings: Findings) -> Figure:
    """Plot train loss above the validation metric over epochs, where reported, one pair of panels for each variant."""
    variants = [variant for variant in findings.variants if variant.curves]
    columns = panel_columns(len(variants))
    has_loss, has_validation = has_learning_curves(findings)
    stacked = has_loss + has_validation
    figure, panels = variant_panels(variants, columns, stacked, PANEL_INCHES, name_with_runs)
    reference = next((variant for variant in variants if variant.is_reference), None)
    for index, variant in enumerate(variants):
        row, column = divmod(index, columns)
        if has_loss:
            above = panels[stacked * row, column]
            _plot_learning_curves(above, variant, reference, "train_loss")
            if column == 0:
                above.set_ylabel("train loss")
            above.tick_params(labelbottom=not has_validation)
        if has_validation:
            below = panels[stacked * (row + 1) - 1, column]
            _plot_learning_curves(below, variant, reference, "validation")
            scored = [(curve.best_epoch, curve.points("validation")) for curve in variant.curves]
            tested = [[epoch] for epoch, points in scored if epoch in points]
            scores = [[points[epoch]] for epoch, points in scored if epoch in points]
            for epochs, values in joined_lines(tested, scores):
                below.plot(epochs, values, "o", color=ACCENT, markersize=2.6, zorder=5)
            if column == 0:
                below.set_ylabel(f"validation\n{heading(findings.primary)}")
        lowest = panels[stacked * (row + 1) - 1, column]
        integer_ticks(lowest)
        label_bottom(lowest, index, len(variants), columns, "epoch")
    figure.align_ylabels(list(panels[:, 0]))
    colour = colour_of(variants[-1])
    handles = [
        Line2D([], [], color=colour, linewidth=0.6, label="one repetition"),
        Line2D([], [], color=colour, linewidth=1.6, label="mean over repetitions"),
    ]
    if has_validation:
        handles.append(
            Line2D([], [], color=ACCENT, marker="o", markersize=2.6, linestyle="", label="tested epoch")
        )
    add_legend(figure, handles, variants)
    return figure


def search(findings: Findings) -> Figure:
    """Plot every trial and the best so far, one panel for each variant."""
    variants = [variant for variant in findings.variants if any(t.score is not None for t in variant.trials)]
    columns = panel_columns(len(variants))
    figure, panels = variant_panels(variants, columns, 1, PANEL_INCHES + 0.3)
    reference = next((variant for variant in variants if variant.is_reference), None)
    for index, variant in enumerate(variants):
        axes = panels[index // columns, index % columns]
        if reference is not None and reference is not variant:
            _plot_best_so_far(axes, reference, REFERENCE)
        _plot_best_so_far(axes, variant, colour_of(variant))
        finished = [
            trial for trial in variant.trials if trial.status == "finished" and trial.score is not None
        ]
        axes.plot(
            [trial.number for trial in finished],
            [trial.score for trial in finished],
            "o",
            color=colour_of(variant),
            markersize=3,
            alpha=0.7,
            markeredgewidth=0,
        )
        _plot_stopped_trials(axes, variant)
        without_score = [trial.number for trial in variant.trials if trial.score is None]
        axes.plot(
            without_score,
            [0.03] * len(without_score),
            "x",
            color=ACCENT,
            markersize=3.5,
            transform=axes.get_xaxis_transform(),
        )
        axes.margins(x=0.06, y=0.12)
        if index % columns == 0:
            axes.set_ylabel(f"validation\n{heading(findings.primary)}")
        integer_ticks(axes)
        label_bottom(axes, index, len(variants), columns, "trial")
    colour = colour_of(variants[-1])
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=3, linestyle="", label="one trial"),
        Line2D([], [], color=colour, linewidth=1.4, label="best so far (mean over searches)"),
    ]
    trials = [trial for variant in variants for trial in variant.trials]
    if any(trial.stopped_after is not None for trial in trials):
        handles.append(
            Line2D(
                [],
                [],
                color=colour,
                marker="v",
                markersize=3.2,
                fillstyle="none",
                linestyle="",
                label="stopped early",
            )
        )
    if any(trial.score is None for trial in trials):
        handles.append(
            Line2D([], [], color=ACCENT, marker="x", markersize=3.5, linestyle="", label="no result")
        )
    add_legend(figure, handles, variants)
    return figure


def _plot_lines(
    axes: Axes, curves: Sequence[Mapping[int, float]], colour: str, width: float, alpha: float = 1.0
) -> None:
    marker = "." if max(map(len, curves), default=0) == 1 else "none"
    for epochs, values in joined_lines(
        [list(curve) for curve in curves], [list(curve.values()) for curve in curves]
    ):
        axes.plot(epochs, values, marker=marker, color=colour, linewidth=width, alpha=alpha)


def _plot_learning_curves(
    axes: Axes,
    variant: VariantFinding,
    reference: VariantFinding | None,
    name: Literal["train_loss", "validation"],
) -> None:
    """Plot one kind of learning curve: every repetition's, their mean, and the reference's mean behind them."""
    if reference is not None and reference is not variant:
        _plot_lines(axes, [_mean_curve([curve.points(name) for curve in reference.curves])], REFERENCE, 1.2)
    curves = [curve.points(name) for curve in variant.curves]
    _plot_lines(axes, curves, colour_of(variant), 0.5, alpha=0.5)
    _plot_lines(axes, [_mean_curve(curves)], colour_of(variant), 1.6)


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over the epochs that every curve has."""
    shared = [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)] if curves else []
    return {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}


def _plot_stopped_trials(axes: Axes, variant: VariantFinding) -> None:
    """Plot the best scores of trials that were stopped early."""
    stopped = [
        (trial.number, trial.score)
        for trial in variant.trials
        if trial.stopped_after is not None and trial.score is not None
    ]
    if stopped:
        axes.plot(
            [number for number, _ in stopped],
            [score for _, score in stopped],
            "v",
            color=colour_of(variant),
            markersize=3.2,
            fillstyle="none",
            markeredgewidth=0.7,
        )


def _plot_best_so_far(axes: Axes, variant: VariantFinding, colour: str) -> None:
    """Plot the mean over searches of the best score so far, and each search's where there are several."""
    searches: dict[tuple[int | None, int | None], list[float]] = {}
    for trial in variant.trials:
        best = math.nan if trial.best_so_far is None else trial.best_so_far
        searches.setdefault((trial.fold, trial.repetition), []).append(best)
    curves = list(searches.values())
    if colour != REFERENCE and len(curves) > 1:
        for curve in curves:
            axes.step(range(1, len(curve) + 1), curve, where="post", color=colour, linewidth=0.5, alpha=0.5)
    shortest = min(map(len, curves), default=0)
    means = [sum(curve[index] for curve in curves) / len(curves) for index in range(shortest)]
    axes.step(range(1, shortest + 1), means, where="post", color=colour, linewidth=1.4)
