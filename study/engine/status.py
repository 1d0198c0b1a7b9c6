"""Report the progress of a study from the ledger alone, without the study's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.engine import plan
from study.engine.estimate import RunningTraining, TimeEstimate
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord, VariantRecord
from study.ledger.store import Ledger, Snapshot


@dataclass(frozen=True)
class EndedTraining:
    """A training that has ended."""

    job: plan.Job
    state: RunState

    @property
    def is_pruned(self) -> bool:
        """Whether the search stopped it early."""
        return self.state.pruned is not None

    @property
    def has_failed(self) -> bool:
        """Whether it or its test failed; one that diverged did not."""
        return self.state.failure is not None


@dataclass(frozen=True)
class Counts:
    """Trainings of a variant or a study; each is in one of these."""

    running: int
    done: int
    failed: int
    pruned: int
    waiting: int
    """Interrupted trainings and those that a search has yet to decide included."""

    @property
    def total(self) -> int:
        """All trainings of the variant or study."""
        return self.running + self.done + self.failed + self.pruned + self.waiting


@dataclass(frozen=True)
class VariantStatus:
    """The progress of one variant."""

    name: str
    counts: Counts
    running: tuple[RunningTraining, ...]


@dataclass(frozen=True)
class StudyStatus:
    """The progress of one study."""

    study: str
    question: str
    variants: tuple[VariantStatus, ...]
    holder: Holder | None
    """The process that runs it; None if there is none."""
    workers: int | None
    """Trainings at a time in the latest session; None before one of its trainings has ended."""
    seconds_left: float | None
    """For all trainings that run or wait; None if no training has reported a duration."""

    @property
    def counts(self) -> Counts:
        """The sums over all variants."""
        all_counts = [variant.counts for variant in self.variants]
        return Counts(
            running=sum(counts.running for counts in all_counts),
            done=sum(counts.done for counts in all_counts),
            failed=sum(counts.failed for counts in all_counts),
            pruned=sum(counts.pruned for counts in all_counts),
            waiting=sum(counts.waiting for counts in all_counts),
        )


def status(study: StudyRecord, ledger: Ledger) -> StudyStatus:
    """Return the progress of `study`, a record of the ledger with its suggestions."""
    states = Snapshot(ledger)
    running: list[RunningTraining] = []
    ended: list[EndedTraining] = []
    estimate = TimeEstimate(study)
    for job in plan.trainings(study, states):
        state = job.state_in(states)
        if state.final:
            ended.append(EndedTraining(job, state))
            estimate.training_ended(job, state)
        elif holder := ledger.run_holder(job.run):
            running.append(_running_training(job, holder, ledger))
    variants = tuple(_variant_status(study, variant, running, ended, estimate) for variant in study.variants)
    last_workers = [session["workers"] for session in ledger.sessions(study.name)[-1:]]
    workers = max(len(running), *last_workers) if last_workers else None
    return StudyStatus(
        study=study.name,
        question=study.question,
        variants=variants,
        holder=ledger.holder(study.name),
        workers=workers,
        seconds_left=estimate.seconds_left(running, workers or max(1, len(running))),
    )


def _running_training(job: plan.Job, holder: Holder, ledger: Ledger) -> RunningTraining:
    history = ledger.history(job.run)
    seconds = sum(epoch.seconds for epoch in history)
    return RunningTraining(job, len(history), job.run.epochs, seconds, holder)


def _variant_status(
    study: StudyRecord,
    variant: VariantRecord,
    running: Sequence[RunningTraining],
    ended: Sequence[EndedTraining],
    estimate: TimeEstimate,
) -> VariantStatus:
    own_running = [training for training in running if training.job.variant == variant.name]
    own_ended = [training for training in ended if training.job.variant == variant.name]
    failed = sum(training.has_failed for training in own_ended) + estimate.unreachable(variant.name)
    pruned = sum(training.is_pruned for training in own_ended)
    counts = Counts(
        running=len(own_running),
        done=sum(not (training.has_failed or training.is_pruned) for training in own_ended),
        failed=failed,
        pruned=pruned,
        waiting=0,
    )
    waiting = plan.training_count(study, variant) - counts.total
    return VariantStatus(variant.name, replace(counts, waiting=waiting), tuple(own_running))
