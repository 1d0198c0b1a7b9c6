"""Carry a study out: plan what is due, run it, keep what came of it, write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.config.settings import Keep
from study.engine import jobs, plan
from study.engine.events import Began, Concluded, EpochEnded, JobEnded, Listener, Retried, Started, Waiting
from study.engine.queue import Queue, known
from study.errors import StudyError
from study.executors import base
from study.executors.base import Executor
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord
from study.ledger.sessions import Session
from study.ledger.store import Ledger

POLL_S = 0.5
Writer = Callable[[Findings, Path], object]


def run(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    reports: Path,
    notify: Listener,
    targets: Mapping[plan.JobKind, str] = jobs.TARGETS,
    keep: Keep = "confirmed",
    computes: Mapping[str, Callable[..., float]] | None = None,
    environment: Mapping[str, str] | None = None,
    write: Writer | None = None,
) -> Findings:
    """Carry the study out and write its report; search trials keep no weights unless `keep` is ``all``.

    Raises:
        StudyError: Another conductor holds the study, or the disk is full.
        KeyboardInterrupt: Ctrl-C, or somebody asked the study to stop.
    """
    with ledger.hold(study.name):
        carry_out(ledger.save(study), ledger, executor, notify, targets, keep, environment)
        return report(study.name, ledger, reports, notify, computes, write)


def carry_out(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    notify: Listener,
    targets: Mapping[plan.JobKind, str] = jobs.TARGETS,
    keep: Keep = "confirmed",
    environment: Mapping[str, str] | None = None,
) -> None:
    """Do whatever is ready until nothing is: the whole study, or what is left of it."""
    queue, session = Queue(study, ledger), Session(ledger, study.name, executor.capacity)
    running: dict[str, plan.Job] = {}
    died: set[str] = set()
    waited_for: set[Holder] = set()
    _greet(queue, notify)
    try:
        while True:
            if ledger.is_asked_to_stop(study.name):
                raise KeyboardInterrupt
            for found in queue.update():
                _drop_weights(found.job, found.state, ledger, keep)
                notify(found)
            taken = _start(queue, running, ledger, executor, notify, targets, environment or {})
            if not running and not taken:
                if queue.due():
                    continue
                return
            if not running:
                _wait_for(taken, waited_for, notify)
            for event in executor.wait(POLL_S) if running else ():
                job = running[event.call.key]
                if isinstance(event, base.CallEpoch):
                    notify(EpochEnded(job, event.epoch))
                elif event.ending == "disk full":
                    raise StudyError(f"{event.reason}. Free some space, then go on with the same command.")
                elif event.ending == "died" and job.key not in died and not jobs.is_done(job, ledger):
                    died.add(job.key)
                    notify(Retried(job, event.reason))
                    executor.submit(event.call)
                else:
                    del running[job.key]
                    state = jobs.settle(job, event, ledger)
                    ledger.release(event.call.folder)
                    queue.ended(job)
                    if job.kind == "train":
                        session.trained()
                    _drop_weights(job, state, ledger, keep)
                    notify(JobEnded(job, state))
    finally:
        executor.close()
        ledger.release_all()
        session.keep()


def report(
    name: str,
    ledger: Ledger,
    reports: Path,
    notify: Listener,
    computes: Mapping[str, Callable[..., float]] | None = None,
    write: Writer | None = None,
) -> Findings:
    """Draw the findings from the ledger and write the report; nothing is trained or measured.

    Args:
        name: Of the study.
        ledger: Where it was carried out.
        reports: The folder of all reports.
        notify: Takes the event of the conclusion.
        computes: Functions of metrics, by name, that test results may lack and predictions give.
        write: Writes the report into a folder; all formats where it is None.
    """
    from study.analysis.analyse import findings as analyse
    from study.reporting.write import write as write_all

    findings = analyse(gather(ledger, ledger.study(name), computes or {}))
    (write or write_all)(findings, reports / name)
    notify(Concluded(findings, reports / name))
    return findings


def _greet(queue: Queue, notify: Listener) -> None:
    """Tell what is asked, and how much of it is known to be done."""
    states = [state for _, state in known(queue.study, queue.state) if state.final]
    failed = sum(state.failure is not None for state in states)
    notify(Began(queue.study, plan.size(queue.study), len(states) - failed, failed))


def _start(
    queue: Queue,
    running: dict[str, plan.Job],
    ledger: Ledger,
    executor: Executor,
    notify: Listener,
    targets: Mapping[plan.JobKind, str],
    environment: Mapping[str, str],
) -> dict[Holder, plan.Job]:
    """Start what is due and nobody else is doing; return a job of each other conductor that does one of ours."""
    taken: dict[Holder, plan.Job] = {}
    for job in queue.due():
        if len(running) == executor.capacity:
            break
        if job.key in running:
            continue
        folder = jobs.folder(job, ledger)
        if holder := ledger.claim(folder):
            taken[holder] = job
        elif not queue.is_still_due(job):
            ledger.release(folder)
        else:
            executor.submit(jobs.call(job, ledger, targets, environment))
            running[job.key] = job
            notify(Started(job))
    return taken


def _drop_weights(job: plan.Job, state: RunState, ledger: Ledger, keep: Keep) -> None:
    """Free what no one will read of a search trial, now or after a kill that came in between."""
    if job.purpose == "search" and keep != "all" and state.result is not None and state.kept:
        ledger.drop_weights(job.run)


def _wait_for(taken: Mapping[Holder, plan.Job], waited_for: set[Holder], notify: Listener) -> None:
    """Wait for other conductors; say of each once that nothing else is left to do."""
    for holder, job in taken.items():
        if holder not in waited_for:
            waited_for.add(holder)
            notify(Waiting(job, holder))
    time.sleep(POLL_S)
