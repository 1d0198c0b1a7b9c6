"""Measures of the networks' parts, over repetitions or folds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from study.analysis.described import FigureFinding, Interval, MeasureFinding
from study.analysis.evidence import Evidence, RepetitionEvidence, VariantEvidence
from study.analysis.sentences.units import quantity
from study.analysis.sentences.wording import join_words
from study.analysis.values.scores import interval_of, sample_means
from study.records import Figure
from study.statistics.description import mean
from study.statistics.inference import estimate


def measures(evidence: Evidence) -> tuple[MeasureFinding, ...]:
    """Return the description of every measure with a result."""
    described: dict[str, MeasureFinding] = {}
    for variant in evidence.variants:
        for run in variant.repetitions:
            for measurement in run.measurements:
                figures = (FigureFinding(name, f.unit, f.about) for name, f in measurement.figures.items())
                described.setdefault(
                    measurement.measure,
                    MeasureFinding(measurement.measure, measurement.about, tuple(figures)),
                )
    return tuple(described.values())


def intervals(evidence: Evidence, variant: VariantEvidence) -> dict[str, Interval]:
    """Return every figure's mean with its 95 % interval, by ``<measure>/<figure>``, where it is defined."""
    values: dict[str, list[tuple[RepetitionEvidence, float]]] = defaultdict(list)
    for run, name, figure in _figures(variant):
        if figure.value is not None:
            values[name].append((run, figure.value))
    overlap = evidence.overlap_of(variant)
    return {
        name: interval_of(estimate(sample_means(evidence, variant, pairs), overlap=overlap))
        for name, pairs in values.items()
    }


def runs(variant: VariantEvidence) -> dict[str, int]:
    """Return the number of runs that define each figure, by ``<measure>/<figure>``."""
    return dict(Counter(name for _, name, figure in _figures(variant) if figure.value is not None))


def chance(variant: VariantEvidence) -> dict[str, float]:
    """Return the chance level of each figure, the mean over runs."""
    levels: dict[str, list[float]] = defaultdict(list)
    for _, name, figure in _figures(variant):
        if figure.chance is not None:
            levels[name].append(figure.chance)
    return {name: mean(values) for name, values in levels.items()}


def unmeasured(variant: VariantEvidence) -> Iterator[str]:
    """Yield why figures are missing: each reason once, with its figures and its number of runs."""
    missing: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for _, name, figure in _figures(variant):
        if figure.value is None:
            missing[figure.undefined][name] += 1
    for run in variant.repetitions:
        for name, reason in run.unmeasured.items():
            missing[reason][name] += 1
    for reason, names in missing.items():
        yield f"{join_words(list(names))} in {quantity(max(names.values()), 'run')}: {reason}"


def _figures(variant: VariantEvidence) -> Iterator[tuple[RepetitionEvidence, str, Figure]]:
    for run in variant.repetitions:
        for measurement in run.measurements:
            for name, figure in measurement.figures.items():
                yield run, f"{measurement.measure}/{name}", figure
