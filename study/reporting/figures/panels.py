"""Rows and panels of the figures, one for each variant, with their labels and legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from study.analysis.findings import VariantFinding
from study.metrics import Metric
from study.reporting.figures.style import (
    COLUMN_INCHES,
    MARKERS,
    PAGE_INCHES,
    PALETTE,
    REFERENCE,
    REFERENCE_LINE,
    REFERENCES,
)
from study.reporting.text import runs_note, wrapped

ROW_INCHES, NARROW_ROW_INCHES, MANY_ROWS = 0.42, 0.3, 6
"""Height of a variant's row, where there are more than so many."""
MOST_LINES = 60
"""More lines of a kind are plotted as one line with gaps, as a few hundred separate ones take a second."""
TALLEST_INCHES = 3.7
"""Height of panels of which two sets, with their captions, fit on a page."""
PAGE_HEIGHT_INCHES = 8.6
"""Height of a figure that fills a page with its caption."""
CHARACTERS_PER_INCH = 14
LABEL_CHARACTERS = 26
"""Width of a variant's name beside its row, before the name takes another line."""


def variant_rows(variants: Sequence[VariantFinding]) -> tuple[Figure, Axes]:
    """Return a figure with one row for each variant, from the top."""
    crowded = max(len(variant.name) for variant in variants) > 2 * LABEL_CHARACTERS
    width = LABEL_CHARACTERS * (2 if crowded else 1)
    names = [wrapped(variant.name, width) for variant in variants]
    lines = max(name.count("\n") + 1 for name in names)
    least = ROW_INCHES if len(variants) <= MANY_ROWS else NARROW_ROW_INCHES
    row = max(least, 0.05 + 0.125 * lines)
    room = (PAGE_HEIGHT_INCHES - 0.55) / len(variants)
    if row > room:  # names on as many lines as there is room for
        row, crowded = room, crowded or lines > 1
        most = max(1, int((room - 0.02) / 0.11))
        names = [
            first_lines(wrapped(variant.name, LABEL_CHARACTERS * (2 if crowded else 1)), most)
            for variant in variants
        ]
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


def first_lines(text: str, most: int) -> str:
    """Return the first lines of a text, with an ellipsis where some are left out."""
    lines = text.split("\n")
    return "\n".join(lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1][:-1]}…"])


def panel_columns(variants: int) -> int:
    """Return the number of panels in a row."""
    if variants > 8:
        return 5
    return 3 if variants in (5, 6) else min(variants, 4)


def _name(variant: VariantFinding) -> str:
    return variant.name


def name_with_runs(variant: VariantFinding) -> str:
    """Return a variant's name, with its number of runs where some planned runs are missing."""
    return variant.name + runs_note(len(variant.repetitions), variant.planned)


def variant_panels(
    variants: Sequence[VariantFinding],
    columns: int,
    stacked: int,
    height: float,
    title: Callable[[VariantFinding], str] = _name,
) -> tuple[Figure, Any]:
    """Return a figure with `stacked` titled panels for each variant, and its axes as an array (rows, columns).

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


def label_bottom(axes: Axes, index: int, variants: int, columns: int, label: str) -> None:
    """Label the horizontal axis of the lowest panel in each column."""
    lowest = index + columns >= variants
    axes.tick_params(labelbottom=lowest)
    if lowest:
        axes.set_xlabel(label)


def integer_ticks(axes: Axes) -> None:
    """Label the horizontal axis at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def add_legend(figure: Figure, handles: Iterable[Artist], variants: Sequence[VariantFinding]) -> None:
    """Add a legend below the panels, with the reference where other variants are shown too."""
    entries = [*handles]
    if len(variants) > 1 and any(variant.is_reference for variant in variants):
        entries.append(Line2D([], [], color=REFERENCE, linestyle=REFERENCE_LINE, label="reference"))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=len(entries), columnspacing=1.4, handlelength=2.2
    )


@dataclass(frozen=True)
class Look:
    """Colour, marker and line style of a variant: the same in every figure, and in the page in HTML."""

    colour: str
    marker: str
    line: str = "-"


def looks(variants: Iterable[VariantFinding]) -> dict[str, Look]:
    """Return the look of each variant by name; references alone are grey, with squares and dashed lines."""
    references = (Look(grey, "s", REFERENCE_LINE) for grey in cycle(REFERENCES))
    others = (Look(colour, marker) for colour, marker in zip(cycle(PALETTE), cycle(MARKERS), strict=False))
    return {variant.name: next(references if variant.is_reference else others) for variant in variants}


def joined_lines(
    across: Sequence[Sequence[float]], values: Sequence[Sequence[float]]
) -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    """Yield the lines to plot: as they are, or joined into one with gaps where there are very many."""
    if len(values) <= MOST_LINES:
        yield from zip(across, values, strict=True)
    else:
        yield (
            [x for line in across for x in (*line, math.nan)],
            [y for line in values for y in (*line, math.nan)],
        )


def bounds(metric: Metric) -> tuple[float | None, float | None]:
    """Return the least and the greatest scaled value of a metric; None where there is no bound."""
    low = None if metric.low is None else metric.scale * metric.low
    return low, None if metric.high is None else metric.scale * metric.high


def clipped(limits: tuple[float, float], least: float | None, most: float | None) -> tuple[float, float]:
    """Return the limits of an axis inside the values that are possible, with room for a dot at a bound."""
    low, high = limits
    margin = 0.02 * (high - low)
    return (
        low if least is None else max(low, least - margin),
        high if most is None else min(high, most + margin),
    )
