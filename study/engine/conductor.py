"""Carry a study out: plan, start ready jobs, record their results, and write the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from study.analysis.exploration import Ranking
from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.config.settings import Keep
from study.engine import jobs, plan
from study.engine.cache import with_next_trials
from study.engine.events import (
    EpochEnded,
    JobEnded,
    JobPending,
    JobRetried,
    JobSilent,
    JobStarted,
    Listener,
    LookTaken,
    StudyConcluded,
    StudyStarted,
    Waiting,
    WeightsDamaged,
)
from study.engine.queue import ALL_KINDS, Queue, training_states
from study.errors import StudyError
from study.executors.base import Call, CallEnded, CallEpoch, CallPending, CallSilent, Ending, Event, Executor
from study.files import as_disk_full_error, disk_full_error, has_full_disk
from study.ledger import looks
from study.ledger.locks import Holder
from study.ledger.record import Closing, Interim, StudyRecord
from study.ledger.sessions import Session
from study.ledger.store import Ledger

if TYPE_CHECKING:
    from study.analysis.known.history import Conclusion  # slow: imports scipy

POLL_S = 0.5
LONGEST_CLAIM_S = 10.0
"""Longer than any process that runs no study, such as `study gc`, has a run's folder."""
MOST_RETRIES: Mapping[Ending, int] = {Ending.DIED: 1, Ending.DAMAGED: 1, Ending.LOST: 3, Ending.PREEMPTED: 10}
"""How often a job is started again after each ending. A death may be the job's own doing, out of memory for one; that
it loses its machine seldom is."""
EXPLORED: tuple[plan.JobKind, ...] = ("train",)
"""The jobs of an exploration: none that reads the test split."""
Writer = Callable[[Findings, Path], object]
Decide = Callable[[StudyRecord, plan.Look], Mapping[str, Closing]]
"""Returns which of the open comparisons a look closes, and how."""


def run(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    reports: Path,
    notify: Listener,
    targets: Mapping[plan.JobKind, str] = jobs.TARGETS,
    keep: Keep = "tested",
    computes: Mapping[str, Callable[..., float]] | None = None,
    environment: Mapping[str, str] | None = None,
    write: Writer | None = None,
) -> Findings:
    """Carry the study out and write its report; beaten trials keep no weights unless `keep` is ``all``.

    Raises:
        StudyError: Another conductor holds the study.
        DiskFullError: A disk or a quota is full.
        KeyboardInterrupt: Ctrl-C, or another process requested the study to stop.
    """
    with as_disk_full_error(ledger.root), ledger.hold(study.name):
        decide = _decide_by(ledger, computes or {})
        carry_out(ledger.save(study), ledger, executor, notify, targets, keep, environment, decide=decide)
        return report(study.name, ledger, reports, notify, computes, write)


def explore(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    reports: Path,
    notify: Listener,
    targets: Mapping[plan.JobKind, str] = jobs.TARGETS,
    keep: Keep = "tested",
    environment: Mapping[str, str] | None = None,
) -> Ranking:
    """Train the study without testing anything, and write the ranking of its variants on validation.

    Raises:
        StudyError: As `run`.
        KeyboardInterrupt: As `run`.
    """
    from study.analysis.exploration import rank
    from study.reporting.exploration import write

    with as_disk_full_error(ledger.root), ledger.hold(study.name):
        carry_out(ledger.save(study), ledger, executor, notify, targets, keep, environment, EXPLORED)
        ranking = rank(ledger, ledger.study(study.name))
        write(ranking, reports / study.name)
        return ranking


def carry_out(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    notify: Listener,
    targets: Mapping[plan.JobKind, str] = jobs.TARGETS,
    keep: Keep = "tested",
    environment: Mapping[str, str] | None = None,
    kinds: Collection[plan.JobKind] = ALL_KINDS,
    decide: Decide | None = None,
) -> None:
    """Run ready jobs of the given kinds until none is left: the whole study, or the rest of it.

    `decide` takes a look; by default the analysis of the results so far does.
    """
    queue, session = Queue(study, ledger, kinds), Session(ledger, study.name, executor.capacity)
    conductor = _Conductor(
        ledger,
        executor,
        notify,
        targets,
        keep,
        environment or {},
        queue,
        session,
        decide or _decide_by(ledger, {}),
    )
    try:
        conductor.work()
    finally:
        executor.close()
        ledger.release_all()
        session.save()


def _decide_by(ledger: Ledger, computes: Mapping[str, Callable[..., float]]) -> Decide:
    """Return the function that takes a look by the analysis of the ledger's test results, as the report does."""

    def decide(study: StudyRecord, look: plan.Look) -> Mapping[str, Closing]:
        from study.analysis.interim import decide as decide_by_evidence

        return decide_by_evidence(gather(ledger, study, computes), look.repetitions, look.open)

    return decide


@dataclass
class _Conductor:
    ledger: Ledger
    executor: Executor
    notify: Listener
    targets: Mapping[plan.JobKind, str]
    keep: Keep
    environment: Mapping[str, str]
    queue: Queue
    session: Session
    decide: Decide
    running: dict[str, plan.Job] = field(default_factory=dict)
    """Jobs that the executor runs, by key."""
    retries: Counter[tuple[str, Ending]] = field(default_factory=Counter)
    """How often each job was started again, by key and by how it had ended."""
    waited_for: set[Holder] = field(default_factory=set)
    waits_for_ended: int = 0
    """Waits in a row for processes elsewhere that run no study."""

    def work(self) -> None:
        """Plan, start jobs and record their results until nothing is left to do."""
        self._report_start()
        while True:
            if self.ledger.stop_requested(self.queue.study.name):
                raise KeyboardInterrupt
            self.ledger.check_lock()
            for training in self.queue.update():
                self._drop_weights(training.job)
                self.notify(training)
            if (look := self.queue.due_look()) is not None:
                self._take_look(look)
                continue
            taken = self._start_jobs()
            if self.running:
                for event in self.executor.wait(POLL_S):
                    self._handle(event)
            elif taken:
                self._wait_for_others(taken)
            elif self.queue.is_empty:
                return
            elif self.executor.capacity < 1:
                time.sleep(POLL_S)  # until a machine comes back

    def _take_look(self, look: plan.Look) -> None:
        """Decide which comparisons get no further repetitions; only their names lead back to the plan."""
        study = self.queue.study
        decided = self.decide(study, look)
        runs = {
            variant.name: tuple(plan.runs_with_outcome(study, variant, self.queue.states))
            for variant in study.variants
        }
        interim = Interim(
            look.repetitions, {name: decided[name] for name in look.open if name in decided}, runs
        )
        self.queue.take_look(interim)
        self.notify(LookTaken(self.queue.study, interim, plan.total_trainings(self.queue.study)))

    def _report_start(self) -> None:
        # trials whose suggestion follows from what has ended are counted
        study = with_next_trials(self.queue.study, self.queue.states)
        states = [state for _, state in training_states(study, self.queue.states)]
        cached = sum(state.result is not None or state.pruned is not None for state in states)
        failed = sum(state.failure is not None for state in states)
        self.notify(StudyStarted(self.queue.study, plan.total_trainings(study), cached, failed))

    def _start_jobs(self) -> dict[Holder, plan.Job]:
        """Start the ready jobs that no other conductor does; return one job of each other conductor."""
        taken: dict[Holder, plan.Job] = {}
        for job in self._jobs_to_start():
            folder = jobs.folder(job, self.ledger)
            if holder := self.ledger.acquire(folder):
                taken[holder] = job
            elif not self.queue.is_still_ready(job):
                self.ledger.release(folder)
            else:
                self.executor.submit(jobs.call(job, self.ledger, self.targets, self.environment))
                self.running[job.key] = job
                self.notify(JobStarted(job))
        return taken

    def _jobs_to_start(self) -> Iterator[plan.Job]:
        for job in self.queue.ready_jobs():
            if len(self.running) >= self.executor.capacity:
                return
            if job.key not in self.running:
                yield job

    def _wait_for_others(self, taken: Mapping[Holder, plan.Job]) -> None:
        """Wait for other conductors that do all jobs that are left; report each of them once."""
        for holder, job in taken.items():
            if holder not in self.waited_for:
                self.waited_for.add(holder)
                self.notify(Waiting(job, holder))
        ended = [holder for holder in taken if holder.is_elsewhere and not self.ledger.has_study(holder)]
        self.waits_for_ended = self.waits_for_ended + 1 if len(ended) == len(taken) else 0
        if self.waits_for_ended * POLL_S > LONGEST_CLAIM_S:
            raise StudyError(
                f"all that is left to do is locked by {ended[0]}, which runs no study of this ledger any more; "
                f"{self.ledger.how_to_unlock(ended[0])}"
            )
        time.sleep(POLL_S)

    def _handle(self, event: Event) -> None:
        job = self.running[event.call.key]
        if isinstance(event, CallEpoch):
            self.notify(EpochEnded(job, event.epoch))
        elif isinstance(event, CallSilent):
            self.notify(JobSilent(job, event.seconds))
        elif isinstance(event, CallPending):
            self.notify(JobPending(job, event.reason, event.seconds))
        elif event.ending == Ending.DISK_FULL or _has_full_disk(event):
            folder = event.call.folder
            raise disk_full_error(event.reason, folder if has_full_disk(folder) else None)
        elif not self._is_to_retry(job, event):
            self._finish(job, event)
        elif event.ending == Ending.DAMAGED:
            self._train_again(job, event)
        else:
            self._retry(job, event.call, event.reason)

    def _is_to_retry(self, job: plan.Job, event: CallEnded) -> bool:
        """Return whether a job is started again, and count it."""
        ended = (job.key, event.ending)
        if self.retries[ended] >= MOST_RETRIES.get(event.ending, 0) or jobs.is_done(job, self.ledger):
            return False
        self.retries[ended] += 1
        return True

    def _retry(self, job: plan.Job, call: Call, reason: str) -> None:
        self.notify(JobRetried(job, reason))
        self.executor.submit(call)

    def _train_again(self, job: plan.Job, event: CallEnded) -> None:
        """Plan a run whose weights were damaged anew: as it has none now, it is trained again before its test."""
        del self.running[job.key]
        self.ledger.release(event.call.folder)
        self.queue.job_ended(job)
        self.notify(WeightsDamaged(job, event.reason))

    def _finish(self, job: plan.Job, event: CallEnded) -> None:
        """Record the result or the failure of a job that has ended."""
        del self.running[job.key]
        state = jobs.record_end(job, event, self.ledger)
        self.ledger.release(event.call.folder)
        self.queue.job_ended(job)
        if job.kind == "train":
            self.session.training_ended()
        self._drop_weights(job)
        self.notify(JobEnded(job, state))

    def _drop_weights(self, job: plan.Job) -> None:
        """Remove the weights of the trials that an ended trial beats, or its own, unless another process uses them."""
        if job.purpose != "search" or self.keep == "all":
            return
        in_use = {running.run.id for running in self.running.values()}
        for trial in self.queue.unneeded_trials(job):
            has_weights = trial.state.result is not None and trial.state.weights_available
            if has_weights and trial.run.id not in in_use:
                folder = self.ledger.run_folder(trial.run)
                if self.ledger.acquire(folder) is None:
                    self.ledger.drop_weights(trial.run)
                    self.ledger.release(folder)
                    self.queue.states.invalidate(trial.run.id)


def _has_full_disk(ended: CallEnded) -> bool:
    """Return whether a call ended badly where nothing can be written: a program, or a killed process, says less."""
    return (
        not ended.host and ended.ending in (Ending.DIED, Ending.RAISED) and has_full_disk(ended.call.folder)
    )


def report(
    name: str,
    ledger: Ledger,
    reports: Path,
    notify: Listener,
    computes: Mapping[str, Callable[..., float]] | None = None,
    write: Writer | None = None,
) -> Findings:
    """Compute the findings from the ledger and write the report; trains and measures nothing.

    Args:
        name: The name of the study.
        ledger: The ledger with its runs.
        reports: The folder of all reports.
        notify: Takes the event of the conclusion.
        computes: Functions of metrics by name, for metrics that test results lack and predictions give.
        write: Writes the report into a folder; all formats if None.
    """
    from study.reporting.write import write as write_all

    conclusion = conclude(ledger.study(name), ledger, computes or {})
    if conclusion.look is not None:
        looks.save(ledger.root, conclusion.look)
    findings = conclusion.findings
    (write or write_all)(findings, reports / name)
    notify(StudyConcluded(findings, reports / name))
    return findings


def conclude(study: StudyRecord, ledger: Ledger, computes: Mapping[str, Callable[..., float]]) -> Conclusion:
    """Return the findings of a study's results with what was known when; write nothing."""
    from study.analysis.analyse import findings as analyse
    from study.analysis.known.history import conclude as with_history
    from study.analysis.values.predicted import with_predicted

    evidence = with_predicted(gather(ledger, study, computes), ledger.root)
    return with_history(study, evidence, looks.read(ledger.root), analyse)
