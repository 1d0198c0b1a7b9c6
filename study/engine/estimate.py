"""Estimate the time that a study still takes from the trainings that have ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from study.engine.plan import Job, Purpose
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord

WHOLE: Literal["whole"] = "whole"
"""Trainings that were not pruned, of either purpose."""
ALL_VARIANTS = ""
"""Replaces the name of a variant."""


@dataclass(frozen=True)
class RunningTraining:
    """A training that a process works on."""

    job: Job
    epoch: int
    """The number of epochs that have ended."""
    epochs: int | None
    """The number of epochs in all; None if the configuration does not determine it."""
    seconds: float
    """Wall time of the epochs that have ended."""
    holder: Holder | None = None
    """The process that works on it, if known."""


class TimeEstimate:
    """Collects the durations of ended trainings; an estimate costs the same however many have ended."""

    def __init__(self, study: StudyRecord) -> None:
        self._study = study
        self._ended: Counter[tuple[str, Purpose]] = Counter()
        self._trials: Counter[tuple[str, int | None]] = Counter()
        """Ended trials by variant and fold."""
        self._usable_trials: Counter[tuple[str, int | None]] = Counter()
        self._timed: Counter[tuple[str, str]] = Counter()
        """Number of trainings with a duration, by variant and by purpose or `WHOLE`."""
        self._seconds: dict[tuple[str, str], float] = {}

    def training_ended(self, job: Job, state: RunState) -> None:
        """Record an ended training, whether it has a result or failed."""
        self._ended[job.variant, job.purpose] += 1
        if job.purpose == "search":
            search = job.variant, job.run.fold
            self._trials[search] += 1
            self._usable_trials[search] += state.is_usable
        seconds = duration(state)
        if seconds is not None:
            for variant in (job.variant, ALL_VARIANTS):
                for kind in (job.purpose, *(() if state.pruned else (WHOLE,))):
                    self._timed[variant, kind] += 1
                    self._seconds[variant, kind] = self._seconds.get((variant, kind), 0.0) + seconds

    def unreachable_repetitions(self, variant: str) -> int:
        """Return how many repetitions of a variant can never start, since its search ended without a choice."""
        study = self._study
        folds = [
            fold
            for fold in study.folds
            if self._trials[variant, fold] == study.trials > 0 == self._usable_trials[variant, fold]
        ]
        return study.repetitions * len(folds)

    def seconds_left(self, running: Sequence[RunningTraining], workers: int) -> float | None:
        """Return the time that so many workers still need, if trainings take as long as the most similar ones.

        At least the rest of the longest running training; None if no training has reported a duration.
        """
        work = longest = 0.0
        folds = len(self._study.folds)
        planned: tuple[tuple[Purpose, int], ...] = (
            ("search", self._study.trials),
            ("confirm", self._study.repetitions),
        )
        for variant in (variant.name for variant in self._study.variants):
            for purpose, number in planned:
                own = [t for t in running if (t.job.variant, t.job.purpose) == (variant, purpose)]
                waiting = number * folds - self._ended[variant, purpose] - len(own)
                waiting -= self.unreachable_repetitions(variant) if purpose == "confirm" else 0
                if waiting <= 0 and not own:
                    continue
                mean = self._mean_seconds(variant, purpose, running)
                if mean is None:
                    return None
                rests = [_seconds_left(training, mean) for training in own]
                work += mean * max(0, waiting) + sum(rests)
                longest = max([longest, *rests])
        return max(work / workers, longest)

    def _mean_seconds(
        self, variant: str, purpose: Purpose, running: Sequence[RunningTraining]
    ) -> float | None:
        """Return the mean duration of the most similar trainings.

        Trainings of the same variant come before others, and those of the same purpose before all that were not
        pruned. If none has ended, the epochs of running ones are extrapolated.
        """
        for similar in ((variant, purpose), (variant, WHOLE), (ALL_VARIANTS, purpose), (ALL_VARIANTS, WHOLE)):
            if self._timed[similar]:
                return self._seconds[similar] / self._timed[similar]
        begun = [(t, t.epochs) for t in running if t.epoch and t.epochs]
        return sum(epochs * t.seconds / t.epoch for t, epochs in begun) / len(begun) if begun else None


def _seconds_left(training: RunningTraining, seconds: float) -> float:
    """Return the time that a running training still takes, if it takes `seconds` in all."""
    if training.epochs:
        return seconds * max(0.0, 1 - training.epoch / training.epochs)
    return max(0.0, seconds - training.seconds)


def duration(state: RunState) -> float | None:
    """Return a training's wall time in seconds over all its sessions; None if it failed."""
    if state.pruned is not None:
        return sum(epoch.seconds for epoch in state.pruned.history)
    if state.result is not None:
        return max(state.result.seconds, sum(epoch.seconds for epoch in state.result.history))
    return None
