"""Check that the variants of a study can be compared: each has runs and data that the comparison is valid for."""

from __future__ import annotations

from study.config.study import StudySpec
from study.errors import InputError
from study.ledger.record import StudyRecord, VariantRecord
from study.metrics import Metric

LARGEST_ROPE = 1e15
"""The largest difference of interest, unscaled, in a metric that has no bounds."""


def check_rope(spec: StudySpec, metric: Metric) -> None:
    """Raise InputError where no difference of the primary metric can be as large as the difference of interest."""
    widest = LARGEST_ROPE * metric.scale
    if metric.low is not None and metric.high is not None:
        widest = metric.scale * (metric.high - metric.low)
    if spec.analysis.rope >= widest:
        raise InputError(
            f"{spec.file}: analysis.rope: must be below {widest:g} {metric.points}".rstrip()
            + f", as no difference in {metric.title} is larger. Got {spec.analysis.rope:g} instead."
        )


def check_distinct_runs(study: StudyRecord) -> None:
    """Raise InputError where two variants have the same runs, at the first point of the search space."""
    for point in (study.first_point, {**study.first_point, **study.confirm}):
        variants: dict[str, VariantRecord] = {}
        for variant in study.variants:
            first = variants.setdefault(variant.run(point, study.seed, study.folds[0]).id, variant)
            if first is not variant:
                raise InputError(
                    f"{study.file}: factors: the variants {first.name!r} and {variant.name!r} have the same runs, so "
                    "they cannot be compared: what differs between them is set again by the search, [confirm] or "
                    "a default, or changes no code. Remove one of the two levels."
                )
