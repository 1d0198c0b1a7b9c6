"""Which figures a study's findings can fill, and what stands below each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from study.analysis.findings import BreakdownFinding, Findings
from study.analysis.units import amount, axis, difference, heading, in_brackets, lower
from study.reporting.text import percent

NAMES = ("seeds", "differences", "breakdown", "learning", "search")
MOST_ROWS_DRAWN = 12
"""A breakdown of more rows is printed as a table only."""
FOLDER = "figures"


@dataclass(frozen=True)
class FigureSpec:
    """A figure of the report."""

    name: str
    """One of `NAMES`; its file is ``figures/<name>.svg``."""
    short: str
    """What it is, for those who cannot see it."""
    caption: str

    @property
    def path(self) -> str:
        """Where it lies, seen from the report."""
        return f"{FOLDER}/{self.name}.svg"


def figure_specs(findings: Findings) -> dict[str, FigureSpec]:
    """Return the figures that have data behind them, in the order of `NAMES`."""
    mark = "Optimistic, chosen on the test split. " if findings.is_optimistic else ""
    return {plate.name: replace(plate, caption=mark + plate.caption) for plate in _plates(findings)}


def corrected_level(findings: Findings, tails: int = 1) -> str:
    """Return the confidence of the intervals that decide: 1 - tails * alpha / m."""
    return percent(1 - tails * findings.alpha / max(findings.comparisons, 1))


def _plates(findings: Findings) -> Iterator[FigureSpec]:
    primary, variants = findings.primary, findings.variants
    metric, better = primary.title, lower(primary, " (", ")")
    rope = amount(difference(findings.rope, primary.unit), primary.unit)
    reference = "Grey: the reference." if len(variants) > 1 else ""
    if any(variant.seeds for variant in variants):
        yield FigureSpec(
            "seeds",
            f"{metric} on the test split of every seed, by variant",
            f"{heading(primary)} on the test split{better}. Every dot is one confirmation run; thin lines join the "
            "runs of one seed across neighbouring variants. "
            f"Diamonds and bars: mean and 95 % t interval over seeds. {reference}",
        )
    if any(variant.difference for variant in variants):
        yield FigureSpec(
            "differences",
            f"Paired differences in {metric} from the reference",
            f"Differences from the reference, in {axis(primary)}{better}, paired by seed. Dots: single "
            "seeds. Diamonds and thick bars: "
            f"mean and 95 % t interval. Thin bars: the {corrected_level(findings)} interval, "
            f"corrected for {_comparisons(findings)}, which decides the verdict at the right. Shaded: differences "
            f"smaller than ±{rope}, which the study declares to be of no practical interest.",
        )
    if part := drawn_breakdown(findings):
        yield FigureSpec(
            "breakdown",
            f"{part.title}, by variant",
            f"{in_brackets(part.title, part.unit)} on the test split: mean and 95 % t interval over seeds. "
            + ("Grey: the reference, repeated in every panel." if len(variants) > 1 else ""),
        )
    if any(learned(findings)):
        lost, selected = learned(findings)
        if lost and selected:
            short = f"Train loss and {metric} on the validation split over epochs"
            shown = (
                f"Learning curves of the confirmation runs: train loss (above) and {heading(primary)} on the "
                f"validation split (below){better}. "
            )
        elif selected:
            short = f"{metric} on the validation split over epochs"
            shown = f"Learning curves of the confirmation runs: {heading(primary)} on the validation split{better}. "
        else:
            short = "Train loss over epochs"
            shown = (
                "Train loss of the confirmation runs; there is no curve of a validation split, for they were trained "
                "on it too. "
            )
        yield FigureSpec(
            "learning",
            short,
            shown
            + "Thin lines: single seeds. Bold: their mean over the epochs that all of them reached. "
            + ("Dots: the epoch whose weights were tested. " if selected else "")
            + ("Grey: the reference's mean, repeated in every panel." if len(variants) > 1 else ""),
        )
    trials = [trial for variant in variants for trial in variant.trials]
    if any(trial.score is not None for trial in trials):
        stopped = any(trial.stopped_after is not None for trial in trials)
        pruned = "Open triangles: the best of trials until they were stopped early. " if stopped else ""
        yield FigureSpec(
            "search",
            f"Best {metric} so far on the validation split over search trials",
            f"The search of every variant: {heading(primary)} on the validation split{better} of each trial (dots) and "
            "the best so far (steps); crosses at the lower edge mark trials that diverged or failed. "
            f"{pruned}Curves that still improve or cross near the end mean that the budget was small. These scores "
            "chose the hyperparameters and are therefore optimistic: they are not results. "
            + ("Grey: the reference's best so far, repeated in every panel." if len(variants) > 1 else ""),
        )


def drawn_breakdown(findings: Findings) -> BreakdownFinding | None:
    """Return the first breakdown that has few enough rows to be drawn."""
    return next((part for part in findings.breakdowns if len(part.rows) <= MOST_ROWS_DRAWN), None)


def learned(findings: Findings) -> tuple[bool, bool]:
    """Return whether there are curves of the train loss, and of the primary metric on the validation split."""
    curves = [curve for variant in findings.variants for curve in variant.curves]
    return any(curve.train_loss for curve in curves), any(curve.validation for curve in curves)


def _comparisons(findings: Findings) -> str:
    return "one comparison" if findings.comparisons == 1 else f"{findings.comparisons} comparisons"
