"""Rows and panels of the figures, one for each variant, with their labels and legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from study.analysis.findings import VariantFinding
from study.reporting.figures.style import COLUMN_INCHES, MARKERS, PAGE_INCHES, PALETTE, REFERENCE, VARIANT
from study.reporting.text import runs_note, wrapped

ROW_INCHES, NARROW_ROW_INCHES, MANY_ROWS = 0.42, 0.3, 6
"""Height of a variant's row, where there are more than so many."""
MOST_LINES = 60
"""More lines of a kind are plotted as one line with gaps, as a few hundred separate ones take a second."""
TALLEST_INCHES = 6.2
"""Height of a figure that leaves room for its caption and some text on a page."""
CHARACTERS_PER_INCH = 14
LABEL_CHARACTERS = 26
"""Width of a variant's name beside its row, before the name takes another line."""


def variant_rows(variants: Sequence[VariantFinding]) -> tuple[Figure, Axes]:
    """Return a figure with one row for each variant, from the top."""
    crowded = max(len(variant.name) for variant in variants) > 2 * LABEL_CHARACTERS
    names = [wrapped(variant.name, LABEL_CHARACTERS * (2 if crowded else 1)) for variant in variants]
    lines = max(name.count("\n") + 1 for name in names)
    least = ROW_INCHES if len(variants) <= MANY_ROWS else NARROW_ROW_INCHES
    row = max(least, 0.05 + 0.125 * lines)
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


def panel_columns(variants: int) -> int:
    """Return the number of panels in a row."""
    return 3 if variants in (5, 6, 9) else min(variants, 4)


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
        entries.append(Patch(color=REFERENCE, label="reference"))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=len(entries), columnspacing=1.4, handlelength=1.4
    )


def colour_of(variant: VariantFinding) -> str:
    """Return the colour of a variant: grey for a reference."""
    return REFERENCE if variant.is_reference else VARIANT


@dataclass(frozen=True)
class Look:
    """Colour and marker of a variant: the same in every figure that shows several variants in one panel."""

    colour: str
    marker: str


def looks(variants: Iterable[VariantFinding]) -> dict[str, Look]:
    """Return the look of each variant; a reference is a grey square, which no other variant is."""
    found: dict[str, Look] = {}
    others = 0
    for variant in variants:
        if variant.is_reference:
            found[variant.name] = Look(REFERENCE, "s")
        else:
            found[variant.name] = Look(PALETTE[others % len(PALETTE)], MARKERS[others % len(MARKERS)])
            others += 1
    return found


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
