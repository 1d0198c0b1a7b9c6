"""How long a study will still take, told from the trainings that it has behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from study.engine.plan import Job, Purpose
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord

WHOLE: Literal["whole"] = "whole"
"""Trainings that were not pruned, whatever their purpose."""
ALL = ""
"""In place of a variant's name."""


@dataclass(frozen=True)
class Training:
    """A training that somebody is at."""

    job: Job
    epoch: int
    """How many epochs have ended."""
    epochs: int | None
    """How many it takes, None where the configuration does not say."""
    seconds: float
    """Wall time of these epochs."""
    holder: Holder | None = None
    """Who is at it, where that is known."""


class TimeEstimate:
    """Takes note of trainings that are over, one by one; what it has to say costs no more for ten thousand."""

    def __init__(self, study: StudyRecord) -> None:
        self._study = study
        self._over: Counter[tuple[str, Purpose]] = Counter()
        self._trials: Counter[tuple[str, int | None]] = Counter()
        self._usable: Counter[tuple[str, int | None]] = Counter()
        self._timed: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[tuple[str, str], float] = {}

    def ended(self, job: Job, state: RunState) -> None:
        """Take note of a training that is over, however it ended."""
        self._over[job.variant, job.purpose] += 1
        if job.purpose == "search":
            fold = job.variant, job.run.fold
            self._trials[fold] += 1
            self._usable[fold] += state.is_usable
        seconds = duration(state)
        if seconds is not None:
            for variant in (job.variant, ALL):
                for kind in (job.purpose, *(() if state.pruned else (WHOLE,))):
                    self._timed[variant, kind] += 1
                    self._seconds[variant, kind] = self._seconds.get((variant, kind), 0.0) + seconds

    def never(self, variant: str) -> int:
        """Return how many seeds of a variant will never begin, because its search is over and chose nothing."""
        study = self._study
        vain = [
            fold
            for fold in study.folds
            if self._trials[variant, fold] == study.trials > 0 == self._usable[variant, fold]
        ]
        return study.repetitions * len(vain)

    def left(self, running: Sequence[Training], workers: int) -> float | None:
        """Return how many seconds so many workers need, if what is left takes as long as what is most like it.

        No less than the longest of those that run; None where there is nothing to tell it from.
        """
        work = longest = 0.0
        folds = len(self._study.folds)
        asked: tuple[tuple[Purpose, int], ...] = (
            ("search", self._study.trials),
            ("confirm", self._study.repetitions),
        )
        for variant in (variant.name for variant in self._study.variants):
            for purpose, number in asked:
                own = [t for t in running if (t.job.variant, t.job.purpose) == (variant, purpose)]
                waiting = number * folds - self._over[variant, purpose] - len(own)
                waiting -= self.never(variant) if purpose == "confirm" else 0
                if waiting <= 0 and not own:
                    continue
                whole = self._expected(variant, purpose, running)
                if whole is None:
                    return None
                rests = [_rest(training, whole) for training in own]
                work += whole * max(0, waiting) + sum(rests)
                longest = max([longest, *rests])
        return max(work / workers, longest)

    def _expected(self, variant: str, purpose: Purpose, running: Sequence[Training]) -> float | None:
        """Return the mean duration of the trainings that are most alike.

        The variant's own come before others', those of the same purpose before those that merely were not
        pruned. Where none has ended, those that run tell by their epochs.
        """
        for alike in ((variant, purpose), (variant, WHOLE), (ALL, purpose), (ALL, WHOLE)):
            if self._timed[alike]:
                return self._seconds[alike] / self._timed[alike]
        begun = [(t, t.epochs) for t in running if t.epoch and t.epochs]
        return sum(epochs * t.seconds / t.epoch for t, epochs in begun) / len(begun) if begun else None


def _rest(training: Training, whole: float) -> float:
    """Return the seconds that a training still takes, of those that a whole one does."""
    if training.epochs:
        return whole * max(0.0, 1 - training.epoch / training.epochs)
    return max(0.0, whole - training.seconds)


def duration(state: RunState) -> float | None:
    """Return a training's wall time in seconds, all its sessions together; None where it failed."""
    if state.pruned is not None:
        return sum(epoch.seconds for epoch in state.pruned.history)
    if state.result is not None:
        return max(state.result.seconds, sum(epoch.seconds for epoch in state.result.history))
    return None
