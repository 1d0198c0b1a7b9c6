"""The figures that a study's findings have data for, with their captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from study.analysis.described import BreakdownFinding, Disagreement, Tradeoff
from study.analysis.findings import Findings, VariantFinding
from study.analysis.sentences.published import measured
from study.analysis.sentences.units import (
    difference_axis,
    difference_with_unit,
    direction_note,
    heading,
    label_with_unit,
    percent,
    quantity,
)
from study.analysis.sentences.wording import join_words
from study.records import PublishedTable
from study.reporting.pictures import NO_PICTURES, Pictures, pictured
from study.reporting.text import OPTIMISTIC

NAMES = (
    "differences",
    "tradeoff",
    "repetitions",
    "profiles",
    "breakdown",
    "confusion",
    "examples",
    "published",
    "learning",
    "search",
)
MOST_ROWS_PLOTTED = 56
"""A breakdown with more rows has a table only, and so has one with more variants."""
MOST_ARMS_PLOTTED = 4
"""More variants have their differences in coloured cells."""
MOST_CELLS_ACROSS = 16
"""Coloured cells with more columns have a table only."""
MOST_CLASSES_PLOTTED = 10
"""Confusions of more classes have a table of the most frequent ones only."""
MOST_CONFUSIONS = 6
"""The most confusions that are plotted: the reference's, and those of the variants that differ most."""
MOST_NEAR_NAMED = 6
"""More variants that are not significantly below the Pareto front are counted and not named."""
MOST_ARMS_NAMED = 14
"""With more variants, the figure of scores against cost names the reference and the front alone."""
MOST_PANELS = 15
"""The most variants with a panel of their own."""
MOST_ARMS_IN_ROWS = 60
"""The most variants with a row of their own in a figure."""
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


def figure_specs(findings: Findings, pictures: Pictures = NO_PICTURES) -> dict[str, FigureSpec]:
    """Return the specifications of the figures that have data, in the order of `NAMES`."""
    prefix = f"{OPTIMISTIC} " if findings.is_optimistic else ""
    specs = (*_specs(findings), *_specs_of_classes(findings, pictures))
    by_name = {spec.name: replace(spec, caption=prefix + spec.caption) for spec in specs}
    return {name: by_name[name] for name in NAMES if name in by_name}


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
            f"Shaded: differences smaller than ±{rope}, which the study declares to be of no practical interest."
            + left_out([variant for variant in variants if variant.difference], MOST_ARMS_IN_ROWS),
        )
    if axis := findings.score_against_cost:
        yield FigureSpec(
            "tradeoff",
            f"{metric} of each variant against its {axis.label}",
            f"{heading(primary)} on the test split{better} against {axis.label}: mean and 95 % interval. Line: the "
            "Pareto front, the variants that no other beats in both mean and cost"
            + _end_of_front(axis)
            + (" Names: the reference and the front." if len(axis.costs) > MOST_ARMS_NAMED else ""),
        )
    if findings.across:
        yield FigureSpec(
            "profiles",
            f"Share of runs above each {metric}, by variant",
            f"Performance profiles over {quantity(findings.across.sets, 'data set')}: the share of runs whose test "
            f"{metric} is above each value, every data set with equal weight. A line further to the "
            f"{'right' if primary.direction == 'maximize' else 'left'} is better. Dashed: the reference.",
        )
    if any(variant.repetitions for variant in variants):
        yield FigureSpec(
            "repetitions",
            f"{metric} on the test split in every repetition, by variant",
            f"{heading(primary)} on the test split{better}. Every small mark is one repetition; thin lines "
            "join the runs of one repetition across neighbouring variants. "
            f"Diamonds and bars: mean and 95 % interval. {reference}{left_out(variants, MOST_ARMS_IN_ROWS)}",
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
            + ("Grey and dashed: the reference's mean, repeated in every panel." if len(variants) > 1 else "")
            + left_out([variant for variant in variants if variant.curves], MOST_PANELS),
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
            + ("Grey and dashed: the reference's best so far, in every panel." if len(variants) > 1 else "")
            + left_out(searched(findings), MOST_PANELS),
        )


def _specs_of_classes(findings: Findings, pictures: Pictures) -> Iterator[FigureSpec]:
    """Yield the figures of parts of the test split, of classes and of single examples."""
    if part := plotted_breakdown(findings):
        title, compared = label_with_unit(part.title, part.unit), compared_in(findings, part)
        unit = "points" if part.unit == "%" else part.unit
        if len(compared) > MOST_ARMS_PLOTTED:
            where = f", in {unit}" if unit else ""
            caption = f"{title} on the test split: mean paired differences from the reference{where}."
        else:
            right = "at the right paired differences from the reference; both with " if compared else "with "
            caption = (
                f"{title} on the test split: mean over repetitions, {right}95 % t interval, not corrected for the "
                "number of rows."
            )
        yield FigureSpec("breakdown", f"{part.title}, by variant", caption)
    if plotted := confused(findings):
        compared = [variant for variant in plotted if not variant.is_reference]
        others = sum(v.confusion is not None and not v.is_reference for v in findings.variants)
        reduced = (
            f" Of {others} variants these {len(compared)} have the largest differences in "
            f"{findings.primary.title}; tables/confusions.csv has all."
            if len(compared) < others
            else ""
        )
        yield FigureSpec(
            "confusion",
            "Confusions of classes, by variant",
            f"Confusions on the test split, all tested runs together: {findings.noun}s of each true class (row) by "
            "predicted class, in % of the row"
            + (
                f"; for other variants the difference from the reference in points.{reduced}"
                if compared
                else "."
            ),
        )
    variant = pictured(findings)
    if variant is not None and variant.disagreement is not None and pictures:
        yield FigureSpec(
            "examples",
            f"{findings.noun.capitalize()}s that {variant.name} classifies correctly and {variant.reference} does not",
            examples_caption(findings, variant, variant.disagreement),
        )


def examples_caption(findings: Findings, variant: VariantFinding, found: Disagreement) -> str:
    """Return what the named examples of a variant are, how they were chosen, and how many there are."""
    noun = findings.noun
    several = sum(other.disagreement is not None for other in findings.variants) > 1
    which = f" {variant.name} is the variant with the largest gain." if several else ""
    return (
        f"Test {noun}s that {variant.name} classifies correctly in most repetitions, and {variant.reference} does not: "
        f"{len(found.examples)} of {found.gained}, the classes in turn, those with the clearest difference first. "
        f"The reverse holds for {found.lost} of all {found.total} {noun}s. Chosen because they differ, they show in "
        f"what and not how often.{which}"
    )


def _end_of_front(axis: Tradeoff) -> str:
    """Return the end of the caption on the Pareto front, with the variants not significantly below it."""
    end = (
        ", one line for each stratum. Squares: the references."
        if len(axis.fronts) > 1
        else ". Square: the reference."
    )
    if not axis.near:
        return end
    names = f"{len(axis.near)} variants" if len(axis.near) > MOST_NEAR_NAMED else join_words(axis.near)
    return (
        f"{end} Off the line but not distinguishable from it: {names}; no variant on it that costs no more is shown to "
        "be better."
    )


def compared_in(findings: Findings, part: BreakdownFinding) -> list[VariantFinding]:
    """Return the variants that have differences from their reference in a breakdown."""
    return [variant for variant in findings.variants if variant.breakdown_differences.get(part.name)]


def without_difference_in(findings: Findings, part: BreakdownFinding) -> list[VariantFinding]:
    """Return the variants that have values of a breakdown alone, such as references."""
    compared = compared_in(findings, part)
    return [v for v in findings.variants if v.breakdowns.get(part.name) and v not in compared]


def plotted_breakdown(findings: Findings) -> BreakdownFinding | None:
    """Return the first breakdown that a figure has room for."""
    return next((part for part in findings.breakdowns if _fits(findings, part)), None)


def _fits(findings: Findings, part: BreakdownFinding) -> bool:
    rows, arms = len(part.rows), len(compared_in(findings, part))
    if max(rows, arms) > MOST_ROWS_PLOTTED:
        return False
    if arms > MOST_ARMS_PLOTTED:
        return min(rows, arms) <= MOST_CELLS_ACROSS
    return len(without_difference_in(findings, part)) <= MOST_ARMS_PLOTTED


def confused(findings: Findings) -> list[VariantFinding]:
    """Return the variants whose confusions are plotted; none where there are too many classes."""
    known = [v for v in findings.variants if v.confusion is not None]
    if any(v.confusion is not None and len(v.confusion.classes) > MOST_CLASSES_PLOTTED for v in known):
        return []
    references = {v.name: v for v in known if v.is_reference}
    others = [
        v
        for v in known
        if v.reference in references
        and not v.is_reference
        and v.confusion is not None
        and (reference := references[v.reference].confusion) is not None
        and reference.classes == v.confusion.classes
    ]
    return most_different(findings, [*references.values(), *others], MOST_CONFUSIONS)


def most_different(findings: Findings, variants: Sequence[VariantFinding], most: int) -> list[VariantFinding]:
    """Return at most so many variants in their order: references, then those with the largest differences."""

    def place(variant: VariantFinding) -> float:
        if variant.is_reference:
            return float("-inf")
        return -abs(findings.lead_of(variant) or 0.0)

    kept = {variant.name for variant in sorted(variants, key=place)[:most]}
    return [variant for variant in variants if variant.name in kept]


def searched(findings: Findings) -> list[VariantFinding]:
    """Return the variants with a trial that has a score."""
    return [v for v in findings.variants if any(trial.score is not None for trial in v.trials)]


def left_out(variants: Sequence[VariantFinding], most: int) -> str:
    """Return which of many variants a figure shows; empty where it shows all."""
    if len(variants) <= most:
        return ""
    return f" Of {len(variants)} variants the references and those with the largest differences."


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
