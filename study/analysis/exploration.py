"""Ranks the variants of a study by their validation scores; reads no test result and gives no verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from study.engine import plan
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot
from study.metrics import Metric
from study.statistics.description import mean_and_sd


@dataclass(frozen=True)
class RankedVariant:
    """The validation scores of one variant, scaled."""

    name: str
    is_reference: bool
    scores: tuple[float, ...]
    """One for each repetition and fold that has ended; a diverged one has the metric's worst value."""
    planned: int
    diverged: int
    """Trainings that diverged."""

    @property
    def mean(self) -> float | None:
        """The mean score; None without a score, or where one has no finite worst value."""
        return self._described[0] if self._described else None

    @property
    def sd(self) -> float | None:
        """The standard deviation of the scores; None below two."""
        return self._described[1] if self._described else None

    @property
    def _described(self) -> tuple[float, float | None] | None:
        has_mean = self.scores and all(map(math.isfinite, self.scores))
        return mean_and_sd(self.scores) if has_mean else None


@dataclass(frozen=True)
class Ranking:
    """The variants of a study, the best on validation first; those without a score last."""

    name: str
    question: str
    metric: Metric
    variants: tuple[RankedVariant, ...]


def rank(ledger: Ledger, study: StudyRecord) -> Ranking:
    """Return the ranking of a study's variants by the trainings that have ended."""
    metric, states = study.primary, Snapshot(ledger)
    variants = [_ranked(study, variant, states) for variant in study.variants]
    variants.sort(key=lambda v: -math.inf if v.mean is None else metric.gain(v.mean), reverse=True)
    return Ranking(study.name, study.question, replace(metric, compute=None), tuple(variants))


def _ranked(study: StudyRecord, variant: VariantRecord, states: plan.States) -> RankedVariant:
    ended = [state.result for state in _repetitions(study, variant, states) if state.result is not None]
    metric = study.primary
    values = [
        metric.worst if result.status == "diverged" else result.validation[metric.name]
        for result in ended
        if result.status == "diverged" or metric.name in result.validation
    ]
    return RankedVariant(
        name=variant.name,
        is_reference=variant.is_reference,
        scores=tuple(metric.scale * value for value in values),
        planned=study.repetitions_of(variant) * len(study.folds_of(variant)),
        diverged=sum(result.status == "diverged" for result in ended),
    )


def _repetitions(study: StudyRecord, variant: VariantRecord, states: plan.States) -> Iterator[RunState]:
    for repetition in plan.repetitions(study, variant, states):
        yield states(repetition.run.id)
