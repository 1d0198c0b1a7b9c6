"""Check that the variants of a study can be compared: each has runs and data that the comparison is valid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from study.config.study import StudySpec
from study.errors import not_comparable, wrong_value
from study.ledger.record import StudyRecord, VariantRecord
from study.metrics import Metric
from study.records import DataInfo

LARGEST_ROPE = 1e15
"""The largest difference of interest, unscaled, in a metric that has no bounds."""


def check_rope(spec: StudySpec, metric: Metric) -> None:
    """Raise InputError where no difference of the primary metric can be as large as the difference of interest."""
    widest = LARGEST_ROPE * metric.scale
    if metric.low is not None and metric.high is not None:
        widest = metric.scale * (metric.high - metric.low)
    if spec.analysis.rope >= widest:
        limit = f"{widest:g} {metric.points}".rstrip()
        raise wrong_value(
            f"{spec.file}: analysis.rope",
            f"must be below {limit}, as no difference in {metric.title} is larger.",
            spec.analysis.rope,
        )


def check_scope(spec: StudySpec, infos: Sequence[DataInfo]) -> None:
    """Raise InputError where intervals are to speak for exactly these test examples, and there are several folds."""
    if spec.analysis.scope == "test-set" and any(len(info.folds) > 1 for info in infos):
        raise not_comparable(
            f"{spec.file}: analysis.scope",
            "must be 'population' where there are several folds, whose intervals speak "
            "for new data. Got 'test-set' instead; name one fold for it.",
        )


def check_distinct_runs(study: StudyRecord) -> None:
    """Raise InputError where two variants have the same runs, at the first point of the search space."""
    variants: dict[str, VariantRecord] = {}
    for variant in study.variants:
        run = variant.run(study.first_point(variant), study.seed, study.folds_of(variant)[0])
        first = variants.setdefault(run.id, variant)
        if first is not variant:
            raise not_comparable(
                f"{study.file}: factors",
                f"the variants {first.name!r} and {variant.name!r} have the same runs, so "
                "they cannot be compared: what differs between them is set again by the search or a default, or "
                "changes no code. Remove one of the two levels.",
            )


def check_looks(study: StudyRecord) -> None:
    """Raise InputError where repetitions are added while comparisons are open, and results vary over folds."""
    if study.looks and any(len(study.folds_of(variant)) > 1 for variant in study.variants):
        raise not_comparable(
            f"{study.file}: repetitions",
            "must be a number where there are folds: verdicts rest on the folds, so "
            "further repetitions decide nothing.",
        )


def check_data(spec: StudySpec, variants: Sequence[VariantRecord], infos: Sequence[DataInfo]) -> None:
    """Raise InputError where variants are compared on other folds, test examples or classes.

    Args:
        spec: The study.
        variants: Its variants.
        infos: The data of each variant.
    """
    by_name = {variant.name: info for variant, info in zip(variants, infos, strict=True)}
    for variant, info in zip(variants, infos, strict=True):
        reference = by_name[variant.reference]
        if info.folds != reference.folds:
            raise not_comparable(
                f"{spec.file}: factors",
                f"the variants {variant.reference!r} and {variant.name!r} have the folds "
                f"{_listed(reference.folds)} and {_listed(info.folds)}. What is compared must have the same; "
                "write 'folds' at each level, or name the factor in design.within to compare inside each data set.",
            )
        for what, own, other in (
            ("the data set", info.name, reference.name),
            ("classes", info.classes, reference.classes),
            ("test examples", _tested(info), _tested(reference)),
        ):
            if own != other:
                raise not_comparable(
                    f"{spec.file}: factors",
                    f"the variants {variant.reference!r} and {variant.name!r} cannot be "
                    f"compared: {what} {other} and {own}. Name the factor in design.within to compare inside each data "
                    "set.",
                )


def _listed(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds)) or "none"


def _tested(info: DataInfo) -> str:
    """Return the numbers of test examples of every fold."""
    return ", ".join(str(size.test) for size in info.sizes)


def with_own_data(variants: Sequence[VariantRecord], infos: Sequence[DataInfo]) -> list[VariantRecord]:
    """Return the variants, each with its data where those of all are not the same.

    Published results are kept once a stratum, by its reference.
    """
    if all(info == infos[0] for info in infos):
        return list(variants)
    return [
        replace(
            variant,
            data=replace(
                info, skipped=(), warnings=(), published=info.published if variant.is_reference else None
            ),
        )
        for variant, info in zip(variants, infos, strict=True)
    ]


def merged(infos: Sequence[DataInfo]) -> DataInfo:
    """Return the first variant's data with the facts, warnings and skipped examples of all variants.

    Published results belong to one data set: where there are several, those of each are with its reference.
    """
    facts: dict[str, dict[str, None]] = {}
    for info in infos:
        for name, value in info.facts.items():
            facts.setdefault(name, {})[value] = None
    return replace(
        infos[0],
        digest=infos[0].digest if all(info.digest for info in infos) else "",
        facts={name: " or ".join(values) for name, values in facts.items()},
        warnings=tuple(dict.fromkeys(line for info in infos for line in info.warnings)),
        unsound=tuple(dict.fromkeys(line for info in infos for line in info.unsound)),
        skipped=tuple(dict.fromkeys(line for info in infos for line in info.skipped)),
        is_optimistic=any(info.is_optimistic for info in infos),
        published=infos[0].published if all(info.published == infos[0].published for info in infos) else None,
    )
