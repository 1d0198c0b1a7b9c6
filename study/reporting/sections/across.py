"""The section on all data sets of a study together."""

from __future__ import annotations

from study.analysis.described import Across
from study.analysis.findings import Findings
from study.analysis.sentences.units import heading, quantity
from study.reporting import text
from study.reporting.document import Line, Side
from study.reporting.sections.blocks import Blocks
from study.reporting.text import MISSING


def add_across(report: Blocks, findings: Findings) -> None:
    """Add interquartile means, profiles and, where data sets are many, ranks; nothing for one data set."""
    found = findings.across
    if found is None:
        return
    metric = findings.primary
    report.heading(f"All {quantity(found.sets, 'data set')} together", level=3)
    ranked: dict[Line, Side] = {} if found.p is None else {"Mean rank": "right"}
    report.table(
        f"{metric.title} over {quantity(found.sets, 'data set')}: interquartile mean, which is the mean of the middle "
        "half of all runs [95 % bootstrap interval, runs resampled within each data set]. Difference: the "
        f"interquartile mean of the paired differences from the reference.{_ranks_note(found)}",
        {"Variant": "left", heading(metric): "right", "Difference": "right", **ranked},
        [
            [
                row.name,
                text.mean_with_interval(row.score, metric.unit),
                MISSING
                if row.difference is None
                else text.difference_with_interval(row.difference, metric.unit),
                *([text.decimals(row.rank)] if ranked else []),
            ]
            for row in found.rows
        ],
    )
    report.figure("profiles")


def _ranks_note(found: Across) -> str:
    if found.p is None:
        return ""
    return (
        " Mean rank: over data sets, 1 is the best; Friedman's test of equal ranks has p = "
        f"{text.p_value(found.p)}, and mean ranks that differ by {text.decimals(found.critical_difference)} or more "
        "differ (Nemenyi)."
    )
