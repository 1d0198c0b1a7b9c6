"""The report's figures, drawn from findings as SVG: the same findings give the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from study.analysis.findings import BreakdownFinding, Findings, Interval, VariantFinding
from study.analysis.units import heading, in_brackets
from study.reporting.figure_specs import drawn_breakdown, figure_specs, learned
from study.reporting.text import mark, wrapped

COLUMN_INCHES = 4.5
"""Shrunk to a column of a two-column paper, letters are still 6 points high."""
PAGE_INCHES = 6.5
ROW_INCHES = 0.42
PANEL_INCHES = 1.35
MOST_LINES = 60
"""More lines of a kind are drawn as one: each on its own would take a second for every few hundred."""
TALLEST_INCHES = 8.4
"""With its caption, a figure this high fills a page."""
CHARACTERS_PER_INCH = 14
LABEL_CHARACTERS = 26
"""Of a variant's name beside its row, before the name takes another line."""

REFERENCE = "#6b6b6b"
VARIANT = "#0072b2"
ACCENT = "#d55e00"
BAND = "#f0e442"
FAINT = "#b4b4b4"
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

STYLE: Mapping[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "path",
    "svg.hashsalt": "study",
}


def draw(findings: Findings) -> dict[str, bytes]:
    """Return the figures of `plates(findings)` as SVG documents, by name."""
    drawings: dict[str, Callable[[Findings], Figure]] = {
        "seeds": seeds,
        "differences": differences,
        "breakdown": breakdown,
        "learning": learning,
        "search": search,
    }
    with style.context(["default", dict(STYLE)]):
        drawn = {name: drawings[name](findings) for name in figure_specs(findings)}
        if findings.is_optimistic:
            for figure in drawn.values():
                figure.suptitle("optimistic, chosen on the test split", fontsize=7.5, color=ACCENT)
        return {name: _svg(figure) for name, figure in drawn.items()}


def seeds(findings: Findings) -> Figure:
    """Draw every seed's score as a dot, with mean and interval, one row a variant."""
    variants = findings.variants
    figure, axes = _rows(variants)
    by_seed = [{(run.seed, run.fold): run.score for run in variant.seeds} for variant in variants]
    pairs = sorted(set().union(*by_seed), key=str)
    lines = [[scores.get(pair, math.nan) for scores in by_seed] for pair in pairs]
    for heights, values in _joined([range(len(variants))] * len(lines), lines):
        axes.plot(values, heights, color=FAINT, linewidth=0.6, zorder=1)
    for row, variant in enumerate(variants):
        scores = [run.score for run in variant.seeds]
        _dots(axes, scores, row, _colour(variant))
        if variant.score is not None:
            _mean(axes, variant.score, row + 0.24, _colour(variant))
        _at_right(axes, row, f"n = {_runs(variant)}")
    axes.set_xlabel(f"test {heading(findings.primary)}")
    return figure


def differences(findings: Findings) -> Figure:
    """Draw paired differences from each variant's reference, with both intervals and the region of no interest."""
    base = {(v.name, run.seed, run.fold): run.score for v in findings.variants for run in v.seeds}
    variants = [variant for variant in findings.variants if variant.difference is not None]
    figure, axes = _rows(variants)
    axes.axvspan(-findings.rope, findings.rope, color=BAND, alpha=0.35, linewidth=0, zorder=0)
    axes.axvline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    for row, variant in enumerate(variants):
        assert variant.difference is not None
        twins = [(run.score, base.get((variant.reference, run.seed, run.fold))) for run in variant.seeds]
        pairs = [score - twin for score, twin in twins if twin is not None]
        _dots(axes, pairs, row, VARIANT)
        corrected = variant.difference.corrected
        if corrected.low is not None and corrected.high is not None:
            axes.plot(
                [corrected.low, corrected.high], [row + 0.24] * 2, color=VARIANT, linewidth=0.7, zorder=2
            )
        _mean(axes, variant.difference.interval, row + 0.24, VARIANT)
        _at_right(axes, row, variant.difference.verdict)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -1.25 * findings.rope), max(high, 1.25 * findings.rope))
    label = f"test {findings.primary.title} minus the reference's"
    axes.set_xlabel(in_brackets(label, findings.primary.points))
    return figure


def breakdown(findings: Findings) -> Figure:
    """Draw the first breakdown, a row of it in a line, one panel a variant, the reference behind it."""
    part = drawn_breakdown(findings)
    assert part is not None
    is_share = part.unit == "%"
    variants = [variant for variant in findings.variants if variant.breakdowns.get(part.name)]
    columns = _columns(len(variants))
    width = PAGE_INCHES / max(columns, 2)
    height = 0.55 + 0.17 * len(part.rows)
    figure, panels = _panels(variants, columns, 1, height, _marked)
    for index, variant in enumerate(variants):
        axes = panels[index // columns, index % columns]
        for behind in variants:
            if behind is variant or (behind.is_reference and not variant.is_reference):
                _broken_down(axes, part, behind, offset=0.0 if behind is variant else 0.28)
        axes.set_ylim(len(part.rows) - 0.4, -0.6)
        axes.set_yticks(range(len(part.rows)), [wrapped(name, 14) for name in part.rows])
        if is_share:
            axes.set_xlim(-3, 103)
            axes.set_xticks([0, 25, 50, 75, 100] if width > 2 else [0, 50, 100])
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0, labelleft=index % columns == 0)
        _label_bottom(axes, index, len(variants), columns, part.unit)
    colour = _colour(variants[-1])
    handle = Line2D(
        [], [], color=colour, marker="o", markersize=3, linewidth=1, label="mean and 95 % interval"
    )
    _legend(figure, [handle], variants)
    return figure


def learning(findings: Findings) -> Figure:
    """Draw train loss above the validation metric over epochs, as far as there are, one pair of panels a variant."""
    variants = [variant for variant in findings.variants if variant.curves]
    columns = _columns(len(variants))
    lost, selected = learned(findings)
    stacked = lost + selected
    figure, panels = _panels(variants, columns, stacked, PANEL_INCHES, _marked)
    reference = next((variant for variant in variants if variant.is_reference), None)
    for index, variant in enumerate(variants):
        row, column = divmod(index, columns)
        if lost:
            above = panels[stacked * row, column]
            _learned(above, variant, reference, "train_loss")
            if column == 0:
                above.set_ylabel("train loss")
            above.tick_params(labelbottom=not selected)
        if selected:
            below = panels[stacked * (row + 1) - 1, column]
            _learned(below, variant, reference, "validation")
            scored = [(curve.best_epoch, curve.points("validation")) for curve in variant.curves]
            places = [[epoch] for epoch, points in scored if epoch in points]
            scores = [[points[epoch]] for epoch, points in scored if epoch in points]
            for epochs, reached in _joined(places, scores):
                below.plot(epochs, reached, "o", color=ACCENT, markersize=2.6, zorder=5)
            if column == 0:
                below.set_ylabel(f"validation\n{heading(findings.primary)}")
        lowest = panels[stacked * (row + 1) - 1, column]
        _integers(lowest)
        _label_bottom(lowest, index, len(variants), columns, "epoch")
    figure.align_ylabels(list(panels[:, 0]))
    colour = _colour(variants[-1])
    handles = [
        Line2D([], [], color=colour, linewidth=0.6, label="one seed"),
        Line2D([], [], color=colour, linewidth=1.6, label="mean over seeds"),
    ]
    if selected:
        handles.append(
            Line2D([], [], color=ACCENT, marker="o", markersize=2.6, linestyle="", label="tested epoch")
        )
    _legend(figure, handles, variants)
    return figure


def search(findings: Findings) -> Figure:
    """Draw every trial and the best so far, one panel a variant."""
    variants = [variant for variant in findings.variants if any(t.score is not None for t in variant.trials)]
    columns = _columns(len(variants))
    figure, panels = _panels(variants, columns, 1, PANEL_INCHES + 0.3)
    reference = next((variant for variant in variants if variant.is_reference), None)
    for index, variant in enumerate(variants):
        axes = panels[index // columns, index % columns]
        if reference is not None and reference is not variant:
            _best_so_far(axes, reference, REFERENCE)
        _best_so_far(axes, variant, _colour(variant))
        finished = [
            trial for trial in variant.trials if trial.status == "finished" and trial.score is not None
        ]
        axes.plot(
            [trial.number for trial in finished],
            [trial.score for trial in finished],
            "o",
            color=_colour(variant),
            markersize=3,
            alpha=0.7,
            markeredgewidth=0,
        )
        _stopped(axes, variant)
        lost = [trial.number for trial in variant.trials if trial.score is None]
        axes.plot(
            lost,
            [0.03] * len(lost),
            "x",
            color=ACCENT,
            markersize=3.5,
            transform=axes.get_xaxis_transform(),
        )
        axes.margins(x=0.06, y=0.12)
        if index % columns == 0:
            axes.set_ylabel(f"validation\n{heading(findings.primary)}")
        _integers(axes)
        _label_bottom(axes, index, len(variants), columns, "trial")
    colour = _colour(variants[-1])
    handles = [
        Line2D([], [], color=colour, marker="o", markersize=3, linestyle="", label="one trial"),
        Line2D([], [], color=colour, linewidth=1.4, label="best so far"),
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
    _legend(figure, handles, variants)
    return figure


def _rows(variants: Sequence[VariantFinding]) -> tuple[Figure, Axes]:
    """Return a figure with one row a variant, from the top."""
    crowded = max(len(variant.name) for variant in variants) > 2 * LABEL_CHARACTERS
    names = [wrapped(variant.name, LABEL_CHARACTERS * (2 if crowded else 1)) for variant in variants]
    lines = max(name.count("\n") + 1 for name in names)
    row = max(ROW_INCHES, 0.05 + 0.125 * lines)
    figure = Figure(
        figsize=(PAGE_INCHES if crowded else COLUMN_INCHES, 0.55 + row * len(variants)), layout="constrained"
    )
    axes = figure.subplots()
    axes.set_ylim(len(variants) - 0.45, -0.55)
    axes.set_yticks(range(len(variants)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")
    return figure, axes


def _columns(variants: int) -> int:
    return 3 if variants in (5, 6, 9) else min(variants, 4)


def _named(variant: VariantFinding) -> str:
    return variant.name


def _marked(variant: VariantFinding) -> str:
    """Return a variant's name, with its number of runs where a mean below it lacks some."""
    return variant.name + mark(len(variant.seeds), variant.planned)


def _runs(variant: VariantFinding) -> str:
    n = len(variant.seeds)
    return str(n) if n == variant.planned else f"{n} of {variant.planned}"


def _panels(
    variants: Sequence[VariantFinding],
    columns: int,
    stacked: int,
    height: float,
    title: Callable[[VariantFinding], str] = _named,
) -> tuple[Figure, Any]:
    """Return a figure with `stacked` panels a variant, titled, and its axes as an array (rows, columns).

    Panels of the same kind share both axes, so that variants can be compared by eye.
    """
    rows = math.ceil(len(variants) / columns)
    width = PAGE_INCHES if columns > 1 else COLUMN_INCHES
    titles = [wrapped(title(variant), int(CHARACTERS_PER_INCH * width / columns)) for variant in variants]
    lines = [
        max(title.count("\n") + 1 for title in titles[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    around = 0.6 + 0.13 * sum(lines)
    height = max(0.7, min(height, (TALLEST_INCHES - around) / (rows * stacked)))
    figure = Figure(figsize=(width, around + rows * stacked * height), layout="constrained")
    panels = figure.subplots(rows * stacked, columns, sharex=True, squeeze=False)
    for row in range(rows * stacked):
        for column in range(columns):
            axes = panels[row, column]
            if row // stacked * columns + column >= len(variants):
                axes.remove()
                continue
            if (row, column) != (row % stacked, 0):
                axes.sharey(panels[row % stacked, 0])
            axes.tick_params(labelleft=column == 0)
            axes.grid(visible=True)
            if row % stacked == 0:
                axes.set_title(titles[row // stacked * columns + column], loc="left")
    return figure, panels


def _label_bottom(axes: Axes, index: int, variants: int, columns: int, label: str) -> None:
    """Label the horizontal axis of the lowest panel in each column."""
    lowest = index + columns >= variants
    axes.tick_params(labelbottom=lowest)
    if lowest:
        axes.set_xlabel(label)


def _integers(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def _legend(figure: Figure, handles: Iterable[Artist], variants: Sequence[VariantFinding]) -> None:
    entries = [*handles]
    if len(variants) > 1 and any(variant.is_reference for variant in variants):
        entries.append(Patch(color=REFERENCE, label="reference"))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=len(entries), columnspacing=1.4, handlelength=1.4
    )


def _colour(variant: VariantFinding) -> str:
    return REFERENCE if variant.is_reference else VARIANT


def _dots(axes: Axes, values: Sequence[float], row: float, colour: str) -> None:
    axes.plot(
        values, [row] * len(values), "o", color=colour, markersize=3.6, alpha=0.6, markeredgewidth=0, zorder=3
    )


def _mean(axes: Axes, interval: Interval, row: float, colour: str) -> None:
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


def _at_right(axes: Axes, row: float, text: str) -> None:
    axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def _broken_down(axes: Axes, part: BreakdownFinding, variant: VariantFinding, offset: float) -> None:
    for row, name in enumerate(part.rows):
        interval = variant.breakdowns[part.name].get(name)
        if interval is None:
            continue
        if interval.low is not None and interval.high is not None:
            ends = [interval.low, interval.high]
            bounds = np.clip(ends, 0, 100) if part.unit == "%" else ends
            axes.plot(bounds, [row + offset] * 2, color=_colour(variant), linewidth=1, zorder=2)
        axes.plot(interval.mean, row + offset, "o", color=_colour(variant), markersize=3, zorder=3)


def _joined(
    across: Sequence[Sequence[float]], values: Sequence[Sequence[float]]
) -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    """Yield the lines to draw: as they are, or joined into one with gaps where there are very many."""
    if len(values) <= MOST_LINES:
        yield from zip(across, values, strict=True)
    else:
        yield (
            [x for line in across for x in (*line, math.nan)],
            [y for line in values for y in (*line, math.nan)],
        )


def _curves(
    axes: Axes, curves: Sequence[Mapping[int, float]], colour: str, width: float, alpha: float = 1.0
) -> None:
    marker = "." if max(map(len, curves), default=0) == 1 else "none"
    for epochs, values in _joined(
        [list(curve) for curve in curves], [list(curve.values()) for curve in curves]
    ):
        axes.plot(epochs, values, marker=marker, color=colour, linewidth=width, alpha=alpha)


def _learned(
    axes: Axes,
    variant: VariantFinding,
    reference: VariantFinding | None,
    name: Literal["train_loss", "validation"],
) -> None:
    """Draw one kind of learning curve: every seed's, their mean, and the reference's mean behind them."""
    if reference is not None and reference is not variant:
        _curves(axes, [_mean_curve([curve.points(name) for curve in reference.curves])], REFERENCE, 1.2)
    curves = [curve.points(name) for curve in variant.curves]
    _curves(axes, curves, _colour(variant), 0.5, alpha=0.5)
    _curves(axes, [_mean_curve(curves)], _colour(variant), 1.6)


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over the epochs that every curve has."""
    shared = [epoch for epoch in curves[0] if all(epoch in curve for curve in curves)] if curves else []
    return {epoch: sum(curve[epoch] for curve in curves) / len(curves) for epoch in shared}


def _stopped(axes: Axes, variant: VariantFinding) -> None:
    """Draw what trials that were stopped early had reached."""
    stopped = {
        trial.number: trial.score
        for trial in variant.trials
        if trial.stopped_after is not None and trial.score is not None
    }
    if stopped:
        axes.plot(
            list(stopped),
            list(stopped.values()),
            "v",
            color=_colour(variant),
            markersize=3.2,
            fillstyle="none",
            markeredgewidth=0.7,
        )


def _best_so_far(axes: Axes, variant: VariantFinding, colour: str) -> None:
    best = [math.nan if trial.best_so_far is None else trial.best_so_far for trial in variant.trials]
    numbers = [trial.number for trial in variant.trials]
    axes.step(numbers, best, where="post", color=colour, linewidth=1.4)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()
