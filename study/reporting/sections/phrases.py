"""Names, run counts and captions that several sections share."""

from __future__ import annotations

from study.analysis.findings import Difference, Findings, VariantFinding
from study.analysis.sentences.units import difference_with_unit, direction_note
from study.metrics import Metric
from study.reporting import text


def name_with_runs(variant: VariantFinding) -> str:
    """Return a variant's name, with its number of runs where some planned runs are missing."""
    return variant.name + runs_note(variant)


def runs_note(variant: VariantFinding) -> str:
    """Return `` (3 of 5)`` for a variant with fewer tested runs than planned."""
    return text.runs_note(len(variant.repetitions), variant.planned) if variant.repetitions else ""


def figure_runs_note(variant: VariantFinding, figure: str) -> str:
    """Return the number of runs of a mean that is over fewer runs than the variant has."""
    runs = variant.runs.get(figure, len(variant.repetitions))
    return text.runs_note(runs, variant.planned) if runs not in (0, len(variant.repetitions)) else ""


def metric_caption(metric: Metric) -> str:
    """Return a metric with its description, unit and direction, for the beginning of a caption."""
    about = f" ({metric.about})" if metric.about else ""
    unit = f" in {metric.unit}" if metric.unit else ""
    return f"{metric.title}{about} on the test split{unit}{direction_note(metric, ', ')}"


def rope_with_unit(findings: Findings) -> str:
    """Return the least difference of interest with its unit."""
    unit = findings.primary.unit
    return difference_with_unit(findings.rope, unit)


def compared_variants(findings: Findings) -> list[tuple[VariantFinding, Difference]]:
    """Return the variants that have a difference from their reference, with that difference."""
    return [(variant, variant.difference) for variant in findings.variants if variant.difference is not None]
