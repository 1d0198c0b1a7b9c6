"""Figures of parts of the test split: recalls with their differences, and confusions of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.analysis.described import BreakdownFinding, Confusion, Interval
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.units import label_with_unit
from study.reporting.figure_specs import (
    MOST_ARMS_PLOTTED,
    compared_in,
    confused,
    plotted_breakdown,
    without_difference_in,
)
from study.reporting.figures.panels import (
    PAGE_HEIGHT_INCHES,
    Look,
    first_lines,
    looks,
    name_with_runs,
    panel_columns,
)
from study.reporting.figures.style import PAGE_INCHES, REFERENCE
from study.reporting.text import wrapped

LABEL_CHARACTERS = 22
ROW_INCHES, CELL_INCHES = 0.15, 0.21
SHARES, DIFFERENCES = "Greys", "RdBu"
"""Colour maps; the numbers in the cells say the same to who sees no colours."""


def breakdown(findings: Findings) -> Figure:
    """Plot the first breakdown: the references' values, and the differences of the other variants beside them."""
    part = plotted_breakdown(findings)
    assert part is not None
    alone, compared = without_difference_in(findings, part), compared_in(findings, part)
    shown = looks(findings.variants)
    drawn = [panel for panel in (alone, compared) if panel]
    names = [wrapped(row, LABEL_CHARACTERS) for row in part.rows]
    crowd = min(max(len(alone), len(compared)), MOST_ARMS_PLOTTED)
    row = max(ROW_INCHES, 0.06 + 0.07 * crowd, 0.02 + 0.115 * max(name.count("\n") + 1 for name in names))
    room = (PAGE_HEIGHT_INCHES - 0.75) / len(part.rows)
    if row > room:
        row = room
        names = [first_lines(wrapped(name, 2 * LABEL_CHARACTERS), 1) for name in part.rows]
    if len(compared) > MOST_ARMS_PLOTTED:
        return _differences_map(part, compared)
    figure = Figure(figsize=(PAGE_INCHES, 0.75 + row * len(part.rows)), layout="constrained")
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for axes, variants in zip(panels, drawn, strict=True):
        is_difference = variants is compared
        if is_difference:
            axes.axvline(0, color=REFERENCE, linewidth=0.8, zorder=1)
        for at, variant in enumerate(variants):
            values = (variant.breakdown_differences if is_difference else variant.breakdowns)[part.name]
            offset = 0.62 * ((at + 0.5) / len(variants) - 0.5) if len(variants) > 1 else 0.0
            _plot_rows(axes, part, values, shown[variant.name], offset)
        if part.unit == "%" and not is_difference:
            axes.set_xlim(-3, 103)
        axes.grid(visible=True, axis="x")
        axes.set_xlabel(
            label_with_unit("difference from the reference", "points" if part.unit == "%" else part.unit)
            if is_difference
            else label_with_unit(part.title, part.unit)
        )
        axes.tick_params(axis="y", length=0)
    panels[0].set_ylim(len(part.rows) - 0.4, -0.6)
    panels[0].set_yticks(range(len(part.rows)), names)
    handles = [
        Line2D(
            [],
            [],
            color=shown[variant.name].colour,
            marker=shown[variant.name].marker,
            markersize=3.5,
            linewidth=1,
            label=wrapped(name_with_runs(variant), 40),
        )
        for variant in (*alone, *compared)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3), columnspacing=1.4)
    return figure


def _plot_rows(
    axes: Axes, part: BreakdownFinding, values: Mapping[str, Interval], look: Look, offset: float
) -> None:
    for at, name in enumerate(part.rows):
        interval = values.get(name)
        if interval is None:
            continue
        if interval.low is not None and interval.high is not None:
            ends = [interval.low, interval.high]
            limits = np.clip(ends, -100, 100) if part.unit == "%" else ends
            axes.plot(limits, [at + offset] * 2, color=look.colour, linewidth=1, zorder=2)
        axes.plot(interval.mean, at + offset, look.marker, color=look.colour, markersize=3.2, zorder=3)


def _differences_map(part: BreakdownFinding, variants: Sequence[VariantFinding]) -> Figure:
    """Plot mean differences as a table of colours, the longer side downwards."""
    found = np.array(
        [
            [getattr(v.breakdown_differences[part.name].get(row), "mean", math.nan) for row in part.rows]
            for v in variants
        ]
    )
    down, across = [name_with_runs(variant) for variant in variants], list(part.rows)
    if len(across) > len(down):
        found, down, across = found.T, across, down
    names = [wrapped(name, LABEL_CHARACTERS + 12) for name in down]
    row = max(ROW_INCHES, 0.02 + 0.11 * max(name.count("\n") + 1 for name in names))
    room = (PAGE_HEIGHT_INCHES - 1.0) / len(down)
    if row > room:
        row, names = room, [first_lines(name, 1) for name in names]
    figure = Figure(figsize=(PAGE_INCHES, 1.0 + row * len(down)), layout="constrained")
    axes = figure.subplots()
    _plot_map(axes, found, [wrapped(name, 16) for name in across], names, signed=True)
    return figure


def confusion(findings: Findings) -> Figure:
    """Plot the confusions of the references, and the differences of other variants from them."""
    variants = confused(findings)
    by_name = {variant.name: variant.confusion for variant in findings.variants}
    columns = panel_columns(len(variants)) if len(variants) < 4 else 3
    rows = math.ceil(len(variants) / columns)
    width = PAGE_INCHES / columns
    cells = max(len(variant.confusion.classes) for variant in variants if variant.confusion is not None)
    figure = Figure(
        figsize=(PAGE_INCHES, 0.1 + rows * (0.75 + min(0.8 * width, cells * CELL_INCHES))),
        layout="constrained",
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(panels.flat):
        if index >= len(variants):
            axes.remove()
            continue
        variant = variants[index]
        own, reference = variant.confusion, by_name.get(variant.reference)
        assert own is not None
        is_difference = not variant.is_reference and isinstance(reference, Confusion)
        values = own.minus(reference) if is_difference and reference is not None else own.shares
        shares = np.array([[math.nan if cell is None else cell for cell in row] for row in values])
        classes = [wrapped(name, 12) for name in own.classes]
        _plot_map(axes, shares, classes, classes if index % columns == 0 else [], signed=is_difference)
        title = f"{variant.name} minus {variant.reference}" if is_difference else variant.name
        axes.set_title(wrapped(title, int(13 * width)), loc="left")
        axes.set_xlabel("predicted class")
        if index % columns == 0:
            axes.set_ylabel("true class")
    return figure


def _plot_map(
    axes: Axes, cells: np.ndarray, across: Sequence[str], down: Sequence[str], *, signed: bool
) -> None:
    """Plot numbers in coloured cells, whole ones; differences with their sign."""
    largest = float(np.nanmax(np.abs(cells), initial=0.0)) or 1.0
    notes = np.vectorize(lambda cell: _cell_text(cell, signed))(cells)
    sns.heatmap(
        cells,
        ax=axes,
        annot=notes,
        fmt="",
        annot_kws={"fontsize": 6},
        cmap=DIFFERENCES if signed else SHARES,
        vmin=-1.6 * largest if signed else 0,
        vmax=1.6 * largest if signed else 130,
        cbar=False,
        xticklabels=list(across),
        yticklabels=list(down) or False,
        linewidths=0.4,
        linecolor="white",
    )
    rotation = 45 if max(map(len, across), default=0) > 3 else 0
    axes.set_xticklabels(axes.get_xticklabels(), rotation=rotation, ha="right" if rotation else "center")
    axes.tick_params(length=0)
    if down:
        axes.set_yticklabels(axes.get_yticklabels(), rotation=0)


def _cell_text(cell: float, signed: bool) -> str:
    if math.isnan(cell):
        return ""
    if not signed:
        return f"{cell:.0f}"
    whole = round(cell)
    return "0" if whole == 0 else f"{whole:+d}".replace("-", "−")
