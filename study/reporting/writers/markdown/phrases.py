"""Names, marks and captions that several sections share."""

from __future__ import annotations

from study.analysis.findings import Difference, Findings, VariantFinding
from study.analysis.units import amount, difference, lower
from study.metrics import Metric
from study.reporting import text as formats
from study.reporting.writers.markdown.blocks import plain


def name_with_runs(variant: VariantFinding) -> str:
    """Return a variant's name, with its number of runs where a mean beside it lacks some."""
    return plain(variant.name) + runs_mark(variant)


def runs_mark(variant: VariantFinding) -> str:
    """Return `` (3 of 5)`` for a variant with fewer tested runs than planned."""
    return formats.mark(len(variant.seeds), variant.planned) if variant.seeds else ""


def figure_mark(variant: VariantFinding, figure: str) -> str:
    """Mark a mean of other runs than the variant's name tells."""
    runs = variant.runs.get(figure, len(variant.seeds))
    return formats.mark(runs, variant.planned) if runs not in (0, len(variant.seeds)) else ""


def metric_caption(metric: Metric) -> str:
    """Return a metric with what it is, its unit and its direction, as captions begin."""
    about = f" ({plain(metric.about)})" if metric.about else ""
    unit = f" in {plain(metric.unit)}" if metric.unit else ""
    return f"{plain(metric.title)}{about} on the test split{unit}{lower(metric, ', ')}"


def rope_with_unit(findings: Findings) -> str:
    """Return the least difference of interest with its unit."""
    unit = findings.primary.unit
    return plain(amount(difference(findings.rope, unit), unit))


def compared_variants(findings: Findings) -> list[tuple[VariantFinding, Difference]]:
    """Return the variants that have a difference, with it."""
    return [(variant, variant.difference) for variant in findings.variants if variant.difference is not None]
