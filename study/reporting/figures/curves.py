"""Figures of training and search over epochs and trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import heading
from study.reporting.figure_specs import MOST_PANELS, has_learning_curves, most_different, searched
from study.reporting.figures.panels import (
    Look,
    add_legend,
    bounds,
    clipped,
    integer_ticks,
    joined_lines,
    label_bottom,
    looks,
    name_with_runs,
    panel_columns,
    variant_panels,
)
from study.reporting.figures.style import ACCENT

PANEL_INCHES = 1.1
THIN = 0.5
"""Width of the line of one repetition, or one search."""


def learning(findings: Findings) -> Figure:
    """Plot train loss above the validation metric over epochs, where reported, one pair of panels for each variant."""
    variants = most_different(findings, [each for each in findings.variants if each.curves], MOST_PANELS)
    columns = panel_columns(len(variants))
    has_loss, has_validation = has_learning_curves(findings)
    stacked = has_loss + has_validation
    figure, panels = variant_panels(variants, columns, stacked, PANEL_INCHES, name_with_runs)
    shown = looks(findings.variants)
    for index, variant in enumerate(variants):
        arms = _with_reference(variant, variants)
        row, column = divmod(index, columns)
        if has_loss:
            above = panels[stacked * row, column]
            _plot_learning_curves(above, arms, shown, "train_loss")
            if column == 0:
                above.set_ylabel("train loss")
            above.tick_params(labelbottom=not has_validation)
        if has_validation:
            below = panels[stacked * (row + 1) - 1, column]
            _plot_learning_curves(below, arms, shown, "validation")
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
    if has_validation:
        _clip(panels[stacked - 1, 0], findings)
    figure.align_ylabels(list(panels[:, 0]))
    colour = shown[variants[-1].name].colour
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
    variants = most_different(findings, searched(findings), MOST_PANELS)
    columns = panel_columns(len(variants))
    figure, panels = variant_panels(variants, columns, 1, PANEL_INCHES)
    shown = looks(findings.variants)
    for index, variant in enumerate(variants):
        axes, look = panels[index // columns, index % columns], shown[variant.name]
        for behind in _with_reference(variant, variants)[1:]:
            _plot_mean_best(axes, behind, shown[behind.name])
        _plot_searches(axes, variant, look)
        _plot_mean_best(axes, variant, look)
        finished = [
            trial for trial in variant.trials if trial.status == "finished" and trial.score is not None
        ]
        axes.plot(
            [trial.number for trial in finished],
            [trial.score for trial in finished],
            look.marker,
            color=look.colour,
            markersize=3,
            alpha=0.7,
            markeredgewidth=0,
        )
        _plot_stopped_trials(axes, variant, look)
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
    _clip(panels[0, 0], findings)
    last = shown[variants[-1].name]
    colour = last.colour
    handles = [
        Line2D([], [], color=colour, marker=last.marker, markersize=3, linestyle="", label="one trial"),
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


def _with_reference(variant: VariantFinding, variants: Sequence[VariantFinding]) -> list[VariantFinding]:
    """Return a variant and, if it is among `variants` and another one, its reference."""
    return [
        variant,
        *(other for other in variants if other.name == variant.reference and other is not variant),
    ]


def _clip(axes: Axes, findings: Findings) -> None:
    """Keep the vertical axis of validation scores inside the values that are possible."""
    axes.set_ylim(clipped(axes.get_ylim(), *bounds(findings.primary)))


def _plot_lines(
    axes: Axes, curves: Sequence[Mapping[int, float]], look: Look, width: float, alpha: float = 1.0
) -> None:
    marker = "." if max(map(len, curves), default=0) == 1 else "none"
    line = look.line if width > THIN else "-"
    for epochs, values in joined_lines(
        [list(curve) for curve in curves], [list(curve.values()) for curve in curves]
    ):
        axes.plot(epochs, values, line, marker=marker, color=look.colour, linewidth=width, alpha=alpha)


def _plot_learning_curves(
    axes: Axes,
    arms: Sequence[VariantFinding],
    shown: Mapping[str, Look],
    name: Literal["train_loss", "validation"],
) -> None:
    """Plot the curves of the first arm's repetitions, their mean, and the other arms' means behind them."""
    for behind in arms[1:]:
        _plot_lines(axes, [behind.mean_curve(name)], shown[behind.name], 1.2)
    curves = [curve.points(name) for curve in arms[0].curves]
    _plot_lines(axes, curves, shown[arms[0].name], THIN, alpha=0.5)
    _plot_lines(axes, [arms[0].mean_curve(name)], shown[arms[0].name], 1.6)


def _plot_stopped_trials(axes: Axes, variant: VariantFinding, look: Look) -> None:
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
            color=look.colour,
            markersize=3.2,
            fillstyle="none",
            markeredgewidth=0.7,
        )


def _plot_searches(axes: Axes, variant: VariantFinding, look: Look) -> None:
    """Plot the best score so far of each search, where there are several."""
    curves = variant.best_so_far
    for curve in curves if len(curves) > 1 else ():
        points = list(curve), list(curve.values())
        axes.step(*points, where="post", color=look.colour, linewidth=THIN, alpha=0.5)


def _plot_mean_best(axes: Axes, variant: VariantFinding, look: Look) -> None:
    """Plot the mean over searches of the best score so far."""
    means = variant.mean_best_so_far
    axes.step(list(means), list(means.values()), look.line, where="post", color=look.colour, linewidth=1.4)
