"""How far a study has come: a reading of the ledger alone, whatever became of the study's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.engine import plan
from study.engine.estimate import TimeEstimate, Training
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot


@dataclass(frozen=True)
class EndedTraining:
    """A training that is over."""

    job: plan.Job
    state: RunState

    @property
    def is_pruned(self) -> bool:
        """Whether the search gave it up early."""
        return self.state.pruned is not None

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
class VariantStatus:
    """One variant at one moment."""

    name: str
    counts: Counts
    running: tuple[Training, ...]


@dataclass(frozen=True)
class StudyStatus:
    """A study at one moment."""

    study: str
    question: str
    variants: tuple[VariantStatus, ...]
    holder: Holder | None
    """Who runs it; None where nobody does."""
    workers: int | None
    """Trainings at a time, in the session that runs or ran last; None before one of its trainings has ended."""
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


def status(study: StudyRecord, ledger: Ledger) -> StudyStatus:
    """Return how far `study` has come; its record is the ledger's, with its suggestions."""
    finished = Snapshot(ledger)
    running: list[Training] = []
    ended: list[EndedTraining] = []
    pace = TimeEstimate(study)
    for job in plan.trainings(study, finished):
        state = job.seen(finished)
        if state.final:
            ended.append(EndedTraining(job, state))
            pace.ended(job, state)
        elif holder := ledger.claimed_by(job.run):
            running.append(_training(job, holder, ledger))
    variants = tuple(_variant(study, variant, running, ended, pace) for variant in study.variants)
    last = [session["workers"] for session in ledger.sessions(study.name)[-1:]]
    workers = max(len(running), *last) if last else None
    return StudyStatus(
        study=study.name,
        question=study.question,
        variants=variants,
        holder=ledger.holder(study.name),
        workers=workers,
        seconds_left=pace.left(running, workers or max(1, len(running))),
    )


def _training(job: plan.Job, holder: Holder, ledger: Ledger) -> Training:
    history = ledger.history(job.run)
    return Training(job, len(history), job.run.epochs, sum(epoch.seconds for epoch in history), holder)


def _variant(
    study: StudyRecord,
    variant: VariantRecord,
    running: Sequence[Training],
    ended: Sequence[EndedTraining],
    pace: TimeEstimate,
) -> VariantStatus:
    own = [training for training in running if training.job.variant == variant.name]
    over = [training for training in ended if training.job.variant == variant.name]
    failed = sum(training.has_failed for training in over) + pace.never(variant.name)
    pruned = sum(training.is_pruned for training in over)
    counts = Counts(
        running=len(own),
        done=sum(not (training.has_failed or training.is_pruned) for training in over),
        failed=failed,
        pruned=pruned,
        waiting=0,
    )
    waiting = len(study.folds) * (study.trials + study.repetitions) - counts.total
    return VariantStatus(variant.name, replace(counts, waiting=waiting), tuple(own))
