"""Estimate the time that a study still takes from the trainings that have ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from study.engine.plan import Job, Purpose, training_count
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
        self._planned: dict[tuple[str, Purpose], int] = {}
        self.plan(study)
        self._ended: Counter[tuple[str, Purpose]] = Counter()
        self._failed: dict[tuple[str, Purpose], dict[object, int]] = defaultdict(dict)
        """The trainings that cannot start, by the search that a failed trial left incomplete."""
        self._failed_trials: dict[object, set[int]] = defaultdict(set)
        """The failed trials of searches that all repetitions share, by search."""
        self._timed: Counter[tuple[str, str]] = Counter()
        """Number of trainings with a duration, by variant and by purpose or `WHOLE`."""
        self._seconds: dict[tuple[str, str], float] = {}

    def plan(self, study: StudyRecord) -> None:
        """Set the trainings of the study, of the repetitions that are planned so far."""
        self._study = study
        for variant in study.variants:
            trials = len(study.searches(variant)) * study.trials
            self._planned[variant.name, "search"] = trials
            self._planned[variant.name, "repetition"] = training_count(study, variant) - trials

    def training_ended(self, job: Job, state: RunState) -> None:
        """Record an ended training, whether it has a result or failed."""
        self._ended[job.variant, job.purpose] += 1
        if job.purpose == "search" and state.result is None and state.pruned is None:
            self._search_failed(job)
        seconds = duration(state)
        if seconds is not None:
            for variant in (job.variant, ALL_VARIANTS):
                for kind in (job.purpose, *(() if state.pruned else (WHOLE,))):
                    self._timed[variant, kind] += 1
                    self._seconds[variant, kind] = self._seconds.get((variant, kind), 0.0) + seconds

    def _search_failed(self, job: Job) -> None:
        """Record that a trial failed: neither the later generations of its search nor what it chooses can start."""
        study = self._study
        variant = next(variant for variant in study.variants if variant.name == job.variant)
        search = study.search_of(variant, job.run.fold, job.repetition or 0)
        folds = len(study.folds_of(variant)) if study.shared_folds else 1
        if search.repetition is None:
            failed = self._failed_trials[search.key]
            failed.add(job.number)
            if len(failed) == study.trials:  # nothing is chosen
                of_search = self._failed[job.variant, "repetition"]
                of_search[search.key] = study.repetitions * folds
            return
        decided = (job.number // study.generation + 1) * study.generation
        for purpose, unreachable in (
            ("search", study.trials - min(decided, study.trials)),
            ("repetition", folds - search.chooses_tested_weights),
        ):
            of_search = self._failed[job.variant, cast(Purpose, purpose)]
            of_search[search.key] = max(unreachable, of_search.get(search.key, 0))

    def unreachable(self, variant: str, purpose: Purpose | None = None) -> int:
        """Return how many trainings of a variant, of one or any purpose, can never start because a trial failed."""
        purposes: tuple[Purpose, ...] = ("search", "repetition") if purpose is None else (purpose,)
        return sum(sum(self._failed[variant, of].values()) for of in purposes)

    def seconds_left(self, running: Sequence[RunningTraining], workers: int) -> float | None:
        """Return the time that so many workers still need, if trainings take as long as the most similar ones.

        At least the rest of the longest running training; None if no training has reported a duration.
        """
        work = longest = 0.0
        for (variant, purpose), number in self._planned.items():
            own = [t for t in running if (t.job.variant, t.job.purpose) == (variant, purpose)]
            waiting = number - self._ended[variant, purpose] - len(own)
            waiting -= self.unreachable(variant, purpose)
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
