"""The figures that a study's findings have data for, with their captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from study.analysis.findings import BreakdownFinding, Findings
from study.analysis.published import measured
from study.analysis.units import (
    difference_axis,
    difference_with_unit,
    direction_note,
    heading,
    label_with_unit,
    percent,
    quantity,
)
from study.records import PublishedTable
from study.reporting.text import OPTIMISTIC

NAMES = ("differences", "tradeoff", "repetitions", "breakdown", "published", "learning", "search")
MOST_ROWS_PLOTTED = 12
"""A breakdown with more rows has a table only."""
FOLDER = "figures"
FORMATS = ("svg", "pdf", "png")


@dataclass(frozen=True)
class FigureSpec:
    """Name and captions of a figure of the report."""

    name: str
    """One of `NAMES`; its files are ``figures/<name>`` with each of `FORMATS`."""
    alt_text: str
    """A short description for readers who cannot see the figure."""
    caption: str

    @property
    def path(self) -> str:
        """The path of its SVG file from the report's folder."""
        return f"{FOLDER}/{self.name}.svg"


def figure_specs(findings: Findings) -> dict[str, FigureSpec]:
    """Return the specifications of the figures that have data, in the order of `NAMES`."""
    prefix = f"{OPTIMISTIC} " if findings.is_optimistic else ""
    return {spec.name: replace(spec, caption=prefix + spec.caption) for spec in _specs(findings)}


def corrected_level(findings: Findings, tails: int = 1) -> str:
    """Return the confidence of the intervals that decide: 1 - tails * alpha / m."""
    return percent(1 - tails * findings.alpha / max(findings.comparisons, 1))


def _specs(findings: Findings) -> Iterator[FigureSpec]:
    primary, variants = findings.primary, findings.variants
    metric, better = primary.title, direction_note(primary, " (", ")")
    rope = difference_with_unit(findings.rope, primary.unit)
    reference = "Grey squares: the reference." if len(variants) > 1 else ""
    if any(variant.difference for variant in variants):
        yield FigureSpec(
            "differences",
            f"Paired differences in {metric} from the reference",
            f"Differences from the reference, in {difference_axis(primary)}{better}, paired by repetition. Small "
            "marks: single repetitions. Diamonds and thick bars: "
            f"mean and 95 % interval. Thin bars: the {corrected_level(findings)} interval, "
            f"corrected for {quantity(findings.comparisons, 'comparison')}, which decides the verdict at the right. "
            f"Shaded: differences smaller than ±{rope}, which the study declares to be of no practical interest.",
        )
    if axis := cost_axis(findings):
        yield FigureSpec(
            "tradeoff",
            f"{metric} of each variant against its {axis.label}",
            f"{heading(primary)} on the test split{better} against {axis.label}: mean and 95 % interval. Line: the "
            "Pareto front, the variants that no other beats in both mean and cost. Square: the reference.",
        )
    if any(variant.repetitions for variant in variants):
        yield FigureSpec(
            "repetitions",
            f"{metric} on the test split in every repetition, by variant",
            f"{heading(primary)} on the test split{better}. Every small mark is one repetition; thin lines "
            "join the runs of one repetition across neighbouring variants. "
            f"Diamonds and bars: mean and 95 % interval. {reference}",
        )
    if part := plotted_breakdown(findings):
        yield FigureSpec(
            "breakdown",
            f"{part.title}, by variant",
            f"{label_with_unit(part.title, part.unit)} on the test split: mean and 95 % t interval over repetitions. "
            + ("Grey: the reference, repeated in every panel." if len(variants) > 1 else ""),
        )
    if tables := plotted_benchmarks(findings):
        names = ", ".join(table.title for table in tables)
        yield FigureSpec(
            "published",
            f"{metric} against multiply-accumulates, measured and published",
            f"{heading(primary)} against the multiply-accumulates of one {findings.noun}, on {names}{better}. Filled: "
            "measured by this study, mean and 95 % interval. Hollow: published by others under other protocols, not "
            "compared here. A star: see the remark on the method below.",
        )
    has_loss, has_validation = has_learning_curves(findings)
    if has_loss or has_validation:
        if has_loss and has_validation:
            alt_text = f"Train loss and {metric} on the validation split over epochs"
            subject = (
                f"Learning curves of the repetitions: train loss (above) and {heading(primary)} on the "
                f"validation split (below){better}. "
            )
        elif has_validation:
            alt_text = f"{metric} on the validation split over epochs"
            subject = (
                f"Learning curves of the repetitions: {heading(primary)} on the validation split{better}. "
            )
        else:
            alt_text = "Train loss over epochs"
            subject = (
                "Train loss of the repetitions; there is no curve of a validation split, as it was part of "
                "the training data. "
            )
        yield FigureSpec(
            "learning",
            alt_text,
            subject
            + "Thin lines: single repetitions. Bold: their mean over the epochs that all of them reached. "
            + ("Dots: the epoch whose weights were tested. " if has_validation else "")
            + ("Grey: the reference's mean, repeated in every panel." if len(variants) > 1 else ""),
        )
    trials = [trial for variant in variants for trial in variant.trials]
    if any(trial.score is not None for trial in trials):
        stopped = any(trial.stopped_after is not None for trial in trials)
        pruned = "Open triangles: the best score of trials that were stopped early. " if stopped else ""
        yield FigureSpec(
            "search",
            f"Best {metric} so far on the validation split over search trials",
            f"The search of every variant: {heading(primary)} on the validation split{better} of each trial (dots) and "
            "the best so far (steps: thin for one search, bold for the mean over searches); crosses at the lower edge "
            "mark trials that diverged or failed. "
            f"{pruned}Curves that still improve or cross near the end indicate a small budget. These scores "
            "chose the hyperparameters and are therefore optimistic: they are not results. "
            + ("Grey: the reference's best so far, repeated in every panel." if len(variants) > 1 else ""),
        )


@dataclass(frozen=True)
class CostAxis:
    """The cost that scores are plotted against."""

    label: str
    values: Mapping[str, float]
    """By variant."""


def cost_axis(findings: Findings) -> CostAxis | None:
    """Return the first cost that differs between tested variants: MACs, parameters, training time."""
    tested = [variant for variant in findings.variants if variant.score is not None]
    costs = (
        CostAxis(
            f"multiply-accumulates per {findings.noun}",
            {v.name: float(v.macs) for v in tested if v.macs is not None},
        ),
        CostAxis("parameters", {v.name: float(v.parameters) for v in tested if v.parameters is not None}),
        CostAxis(
            "training time in s", {v.name: v.train_seconds for v in tested if v.train_seconds is not None}
        ),
    )
    return next((axis for axis in costs if len(set(axis.values.values())) > 1), None)


def plotted_breakdown(findings: Findings) -> BreakdownFinding | None:
    """Return the first breakdown with few enough rows for a figure."""
    return next((part for part in findings.breakdowns if len(part.rows) <= MOST_ROWS_PLOTTED), None)


def plotted_benchmarks(findings: Findings) -> list[PublishedTable]:
    """Return the benchmarks on which the primary metric and the cost of variants and of published methods are known."""
    label = heading(findings.primary)
    return [
        table
        for table in findings.published
        if any(variant.macs for variant in measured(findings, table))
        and any(result.gmacs and label in result.figures for result in table.results)
    ]


def has_learning_curves(findings: Findings) -> tuple[bool, bool]:
    """Return whether any run reported its train loss, and its validation metric, over epochs."""
    curves = [curve for variant in findings.variants for curve in variant.curves]
    return any(curve.train_loss for curve in curves), any(curve.validation for curve in curves)
