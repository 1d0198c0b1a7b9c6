"""How far a study has come: a reading of the ledger alone, whatever became of the study's file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from study import plan
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot


@dataclass(frozen=True)
class Training:
    """A training that somebody is at."""

    job: plan.Job
    epoch: int
    """How many epochs have ended."""
    epochs: int
    seconds: float
    """Wall time of these epochs."""
    holder: Holder


@dataclass(frozen=True)
class Ended:
    """A training that is over, and its wall time; None where it failed."""

    job: plan.Job
    state: RunState
    seconds: float | None

    @property
    def is_pruned(self) -> bool:
        """Whether the search gave it up early."""
        return self.state.pruned is not None

    @property
    def is_usable(self) -> bool:
        """Whether it was trained to its end, so that a search may choose it."""
        return self.state.result is not None and self.state.result.status == "finished"

    @property
    def has_failed(self) -> bool:
        """Whether the study lacks what it asked for: a diverged trial is a result, a diverged seed is none."""
        result = self.state.result
        diverged = result is not None and result.status == "diverged"
        return self.state.failure is not None or (diverged and self.job.purpose == "confirm")


@dataclass(frozen=True)
class Counts:
    """Trainings of a variant or study: each that it asks for is in one of these."""

    running: int
    done: int
    failed: int
    pruned: int
    waiting: int
    """Those that were cut short, and those that a search has yet to decide, included."""

    @property
    def total(self) -> int:
        """All that is asked for."""
        return self.running + self.done + self.failed + self.pruned + self.waiting


@dataclass(frozen=True)
class VariantOverview:
    """One variant at one moment."""

    name: str
    counts: Counts
    running: tuple[Training, ...]


@dataclass(frozen=True)
class Overview:
    """A study at one moment."""

    study: str
    question: str
    variants: tuple[VariantOverview, ...]
    holder: Holder | None
    """Who runs it; None where nobody does."""
    workers: int
    """Trainings at a time, in the session that runs or ran last."""
    seconds_left: float | None
    """For all that runs and waits; None where there is nothing to estimate it from."""

    @property
    def counts(self) -> Counts:
        """The variants' together."""
        every = [variant.counts for variant in self.variants]
        return Counts(
            running=sum(counts.running for counts in every),
            done=sum(counts.done for counts in every),
            failed=sum(counts.failed for counts in every),
            pruned=sum(counts.pruned for counts in every),
            waiting=sum(counts.waiting for counts in every),
        )


def studies(ledger: Ledger) -> list[str]:
    """Return the names of all studies of a ledger, sorted."""
    return sorted(record.parent.name for record in (ledger.root / "studies").glob("*/study.json"))


def overview(study: StudyRecord, ledger: Ledger) -> Overview:
    """Return how far `study` has come; its record is the ledger's, with its suggestions."""
    finished = Snapshot(ledger)
    running: list[Training] = []
    ended: list[Ended] = []
    for job in plan.trainings(study, finished):
        state = job.seen(finished)
        if state.final:
            ended.append(Ended(job, state, _seconds(state)))
        elif holder := ledger.claimed_by(job.run):
            running.append(_training(job, holder, ledger))
    variants = tuple(_variant(study, variant, running, ended) for variant in study.variants)
    workers = max([1, len(running), *(session["workers"] for session in ledger.sessions(study.name)[-1:])])
    return Overview(
        study=study.name,
        question=study.question,
        variants=variants,
        holder=ledger.holder(study.name),
        workers=workers,
        seconds_left=_seconds_left(study, running, ended, workers),
    )


def _training(job: plan.Job, holder: Holder, ledger: Ledger) -> Training:
    history = ledger.history(job.run)
    epochs = job.run.config["train"]["epochs"]
    return Training(job, len(history), epochs, sum(epoch.seconds for epoch in history), holder)


def _seconds(state: RunState) -> float | None:
    """Return how long a training took, in all the sessions that it was carried out in together."""
    if state.pruned is not None:
        return sum(epoch.seconds for epoch in state.pruned.history)
    if state.result is not None:
        return max(state.result.seconds, sum(epoch.seconds for epoch in state.result.history))
    return None


def _variant(
    study: StudyRecord, variant: VariantRecord, running: Sequence[Training], ended: Sequence[Ended]
) -> VariantOverview:
    own = [training for training in running if training.job.variant == variant.name]
    over = [training for training in ended if training.job.variant == variant.name]
    failed = sum(training.has_failed for training in over) + _never(study, over)
    pruned = sum(training.is_pruned for training in over)
    counts = Counts(
        running=len(own),
        done=sum(not (training.has_failed or training.is_pruned) for training in over),
        failed=failed,
        pruned=pruned,
        waiting=0,
    )
    waiting = len(study.folds) * (study.trials + study.seeds) - counts.total
    return VariantOverview(variant.name, replace(counts, waiting=waiting), tuple(own))


def _never(study: StudyRecord, over: Sequence[Ended]) -> int:
    """Return how many seeds of a variant will never begin, because its search is over and has chosen nothing."""
    trials = [training for training in over if training.job.purpose == "search"]
    ended = Counter(trial.job.run.fold for trial in trials)
    usable = Counter(trial.job.run.fold for trial in trials if trial.is_usable)
    return sum(study.seeds for fold, number in ended.items() if number == study.trials and not usable[fold])


def _seconds_left(
    study: StudyRecord, running: Sequence[Training], ended: Sequence[Ended], workers: int
) -> float | None:
    """Return how long the workers will need, if what is left takes as long as what is most like it has taken."""
    jobs = [*(t.job for t in running), *(t.job for t in ended)]
    begun = Counter((job.variant, job.purpose) for job in jobs)
    work, longest = 0.0, 0.0
    for variant, purpose, asked in _asked(study):
        waiting = asked - begun[variant, purpose]
        if purpose == "confirm":
            waiting -= _never(study, [t for t in ended if t.job.variant == variant])
        own = [t for t in running if (t.job.variant, t.job.purpose) == (variant, purpose)]
        if not waiting and not own:
            continue
        whole = _expected(variant, purpose, running, ended)
        if whole is None:
            return None
        rests = [whole * (1 - t.epoch / t.epochs) for t in own]
        work += whole * waiting + sum(rests)
        longest = max([longest, *rests])
    return max(work / workers, longest)


def _asked(study: StudyRecord) -> Iterator[tuple[str, plan.Purpose, int]]:
    """Yield how many trials and seeds the study asks of each variant."""
    for variant in study.variants:
        yield variant.name, "search", study.trials * len(study.folds)
        yield variant.name, "confirm", study.seeds * len(study.folds)


def _expected(
    variant: str, purpose: plan.Purpose, running: Sequence[Training], ended: Sequence[Ended]
) -> float | None:
    """Return the mean duration of the trainings that are most alike.

    The variant's own come before others', those of the same purpose before those that merely were not pruned.
    Where none has ended, what runs tells by its epochs.
    """
    timed = [(t, t.seconds) for t in ended if t.seconds is not None]
    of_variant = [(t, seconds) for t, seconds in timed if t.job.variant == variant]
    for some in (of_variant, timed):
        for alike in (
            [seconds for t, seconds in some if t.job.purpose == purpose],
            [seconds for t, seconds in some if not t.is_pruned],
        ):
            if alike:
                return mean(alike)
    epochs = [t.epochs * t.seconds / t.epoch for t in running if t.epoch]
    return mean(epochs) if epochs else None
