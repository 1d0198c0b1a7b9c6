"""The contact sheet of test examples that a variant classifies correctly and its reference does not."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from study.analysis.described import ExampleFinding
from study.analysis.findings import Findings, VariantFinding
from study.reporting.figures.panels import Look, first_lines, looks
from study.reporting.figures.style import PAGE_INCHES
from study.reporting.pictures import Pictures, pictured
from study.reporting.text import wrapped

COLUMNS = 8
"""The most frames of an example, evenly spaced from its first to its last."""
TILE_PIXELS, GAP_PIXELS = 96, 4
TEXT_INCHES, CHARACTERS, BOLD_CHARACTERS = 1.75, 33, 24


def examples(findings: Findings, pictures: Pictures) -> Figure:
    """Plot a row for each example: its class, both predictions, and its frames with time from left to right."""
    variant = pictured(findings)
    assert variant is not None
    assert variant.disagreement is not None
    rows = [
        (example, _strip(pictures[example.fold, example.id]))
        for example in variant.disagreement.examples
        if (example.fold, example.id) in pictures
    ]
    shown = looks(findings.variants)
    widest = max(strip.shape[1] for _, strip in rows)
    strip_inches = PAGE_INCHES - TEXT_INCHES
    heights = [max(0.62, strip_inches * strip.shape[0] / widest) + 0.06 for _, strip in rows]
    figure = Figure(figsize=(PAGE_INCHES, sum(heights)))
    top = sum(heights)
    for (example, strip), height in zip(rows, heights, strict=True):
        top -= height
        share = strip.shape[1] / widest
        axes = figure.add_axes(
            (
                TEXT_INCHES / PAGE_INCHES,
                top / sum(heights),
                share * strip_inches / PAGE_INCHES,
                (height - 0.06) / sum(heights),
            )
        )
        axes.imshow(strip, interpolation="antialiased", aspect="equal", resample=True)
        axes.set_anchor("W")
        axes.axis("off")
        middle = (top + (height - 0.06) / 2) / sum(heights)
        _write(figure, shown, variant, example, middle, sum(heights))
    return figure


def _write(
    figure: Figure,
    shown: Mapping[str, Look],
    variant: VariantFinding,
    example: ExampleFinding,
    middle: float,
    height: float,
) -> None:
    """Write an example's class, name and predictions at the left of its frames, lines around the middle."""
    n = example.repetitions
    fold = "" if example.fold is None else f", fold {example.fold}"
    lines = [
        (example.label, "black", 7.5, "bold"),
        (f"{example.id}{fold}", "#5a5a5a", 6, "normal"),
        (f"✓ {variant.name}, right {example.right}/{n}", shown[variant.name].colour, 6.5, "normal"),
        (
            f"✗ {variant.reference}: {example.reference_predicted}, right {example.reference_right}/{n}",
            shown[variant.reference].colour,
            6.5,
            "normal",
        ),
    ]
    split = [
        (part, colour, size, weight)
        for text, colour, size, weight in lines
        for part in first_lines(
            wrapped(text, BOLD_CHARACTERS if weight == "bold" else CHARACTERS), 2 if weight == "bold" else 1
        ).split("\n")
    ]
    step = 0.115 / height
    for at, (text, colour, size, weight) in enumerate(split):
        y = middle + step * ((len(split) - 1) / 2 - at)
        figure.text(0.0, y, text, color=colour, fontsize=size, fontweight=weight, va="center")


def _strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return frames (T, H, W, 3) side by side as one picture with white gaps."""
    count = len(frames)
    chosen = np.unique(np.linspace(0, count - 1, min(COLUMNS, count)).round().astype(int))
    tiles = [_tile(frames[at]) for at in chosen]
    gap = np.full((tiles[0].shape[0], GAP_PIXELS, 3), 255, np.uint8)
    return np.concatenate([piece for tile in tiles for piece in (tile, gap)][:-1], axis=1)


def _tile(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame with sides of about `TILE_PIXELS`, enlarged by whole factors so that its pixels stay sharp."""
    side = max(frame.shape[:2])
    if side <= TILE_PIXELS:
        factor = math.ceil(TILE_PIXELS / side)
        return np.asarray(frame.repeat(factor, axis=0).repeat(factor, axis=1))
    shrink = TILE_PIXELS / side
    size = (max(1, round(frame.shape[1] * shrink)), max(1, round(frame.shape[0] * shrink)))
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
