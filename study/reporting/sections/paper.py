"""The table of results that a paper prints: a row for each variant, a column for each factor, metric and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum

from study.analysis.described import Interval
from study.analysis.findings import Difference, Findings, VariantFinding
from study.analysis.sentences.units import difference, heading, label_with_unit, number, signed_difference
from study.metrics import Metric
from study.reporting import text
from study.reporting.document import Column, Document, Line, Table, strong
from study.reporting.figure_specs import corrected_level
from study.reporting.text import MISSING, OPTIMISTIC

YES, NO = "✓", "✗"
MARK = "*"
TRUTH = {"true": YES, "false": NO}


class Spread(StrEnum):
    """What follows a mean."""

    SD = "sd"
    INTERVAL = "interval"


SPREAD_CAPTIONS = {
    Spread.SD: "mean ± standard deviation over repetitions",
    Spread.INTERVAL: "mean over repetitions [95 % interval]",
}


def paper_table(findings: Findings, spread: Spread) -> Document:
    """Return the table of results as a document of its own.

    A factor of two levels has a column of check marks where the design varies several factors. The best mean of each
    metric is bold. The mark says that the interval that decides the verdict excludes 0.
    """
    columns: list[tuple[Column, list[Line]]] = [
        (Column(head), cells) for head, cells in factor_columns(findings)
    ]
    if not columns or len(
        {tuple(map(str, row)) for row in zip(*(cells for _, cells in columns), strict=True)}
    ) < len(findings.variants):
        columns.insert(0, (Column("Variant"), [variant.name for variant in findings.variants]))
    for metric in findings.metrics:
        if any(variant.mean_and_sd(metric.name) for variant in findings.variants):
            columns.append((Column(heading(metric), "right"), _scores(findings, metric, spread)))
    compared = any(variant.difference is not None for variant in findings.variants)
    if compared:
        head = label_with_unit("Difference", findings.primary.points)
        columns.append(
            (Column(head, "right"), [_difference(findings, variant) for variant in findings.variants])
        )
    columns += _costs(findings)
    table = Table(
        tuple(column for column, _ in columns),
        tuple(zip(*(cells for _, cells in columns), strict=True)),
        _caption(findings, spread, compared),
        1,
    )
    return Document(f"{findings.name} results", findings.title, (table,))


def factor_columns(findings: Findings) -> list[tuple[str, list[Line]]]:
    """Return the heads and cells of the factors where several vary."""
    variants = findings.variants
    names = list(dict.fromkeys(name for variant in variants for name in variant.levels))
    levels = {name: [variant.levels.get(name, MISSING) for variant in variants] for name in names}
    varied = {name: cells for name, cells in levels.items() if len(set(cells)) > 1}
    return (
        [_factor_column(name, cells, variants) for name, cells in varied.items()] if len(varied) > 1 else []
    )


def _factor_column(
    name: str, levels: Sequence[str], variants: Sequence[VariantFinding]
) -> tuple[str, list[Line]]:
    if set(levels) <= TRUTH.keys():
        return name, [TRUTH[level] for level in levels]
    kinds = set(levels) - {MISSING}
    reference = next((level for level, v in zip(levels, variants, strict=True) if v.is_reference), None)
    if len(kinds) != 2 or len(kinds) != len(set(levels)) or reference is None:
        return name, list(levels)
    (other,) = kinds - {reference}
    return f"{name} = {other}", [YES if level == other else NO for level in levels]


def _scores(findings: Findings, metric: Metric, spread: Spread) -> list[Line]:
    means: dict[str, float] = {}
    cells: list[Line] = []
    for variant in findings.variants:
        if (found := variant.mean_and_sd(metric.name)) is not None:
            means[variant.name] = found[0]
    printed = {name: number(mean, metric.unit) for name, mean in means.items()}
    best = max(means, key=lambda name: metric.gain(means[name]))
    for variant in findings.variants:
        if variant.name not in means:
            cells.append(MISSING)
            continue
        cell = _mean_with_spread(findings, variant, metric, spread)
        is_best = len(means) > 1 and printed[variant.name] == printed[best]
        cells.append(strong(cell) if is_best else cell)
    return cells


def _mean_with_spread(findings: Findings, variant: VariantFinding, metric: Metric, spread: Spread) -> str:
    if spread is Spread.INTERVAL:
        interval = variant.score if metric.name == findings.metric else variant.secondary.get(metric.name)
        return text.mean_with_interval(interval, metric.unit)
    mean, sd = variant.mean_and_sd(metric.name) or (math.nan, None)
    cell = number(mean, metric.unit)
    return cell if sd is None else f"{cell} ± {difference(sd, metric.unit)}"


def _difference(findings: Findings, variant: VariantFinding) -> Line:
    if variant.difference is None:
        return MISSING
    shown = signed_difference(variant.difference.interval.mean, findings.primary.unit)
    return shown + (MARK if not findings.is_optimistic and excludes_zero(variant.difference) else "")


def excludes_zero(found: Difference) -> bool:
    """Return whether a verdict exists and the interval that decides it excludes 0."""
    interval: Interval = found.corrected
    if found.verdict is None or interval.low is None or interval.high is None:
        return False
    return interval.low > 0 or interval.high < 0


def _costs(findings: Findings) -> list[tuple[Column, list[Line]]]:
    counted: tuple[tuple[str, Callable[[VariantFinding], int | None], Callable[[int | None], str]], ...] = (
        ("Parameters", lambda variant: variant.parameters, text.operations),
        ("MACs", lambda variant: variant.macs, text.operations),
    )
    return [
        (Column(head, "right"), [write(value(variant)) for variant in findings.variants])
        for head, value, write in counted
        if any(value(variant) is not None for variant in findings.variants)
    ]


def _caption(findings: Findings, spread: Spread, compared: bool) -> str:
    counts = sorted({len(variant.repetitions) for variant in findings.variants if variant.repetitions})
    n = " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1])))) if counts else "0"
    prefix = f"{OPTIMISTIC} " if findings.is_optimistic else ""
    mark = (
        f" {MARK}: the {corrected_level(findings)} interval of the paired difference from the reference excludes 0."
        if compared and not findings.is_optimistic
        else ""
    )
    return f"{prefix}{findings.title}: {SPREAD_CAPTIONS[spread]} (n = {n}). Bold: best mean.{mark}"
