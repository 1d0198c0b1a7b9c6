"""The story of a study: from a file that asks to a report that answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from study.engine import jobs as outcomes
from study.engine import plan
from study.engine.queue import Agenda, known
from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.errors import StudyError
from study.engine.events import Began, Concluded, Ended, EpochEnded, Listener, Retried, Started, Waiting
from study.executors import base as protocol
from study.executors.base import Executor
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord
from study.ledger.sessions import Session
from study.ledger.store import Ledger
from study.config.compile import TARGETS
from study.config.settings import Keep

POLL_S = 0.5


def run(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    reports: Path,
    tell: Listener,
    targets: Mapping[plan.JobKind, str] = TARGETS,
    keep: Keep = "confirmed",
) -> Findings:
    """Carry the study out and write its report; search trials keep no weights unless `keep` is ``all``.

    Raises:
        StudyError: Another conductor holds the study, or the disk is full.
        KeyboardInterrupt: Ctrl-C, or somebody asked the study to stop.
    """
    with ledger.hold(study.name):
        carry_out(ledger.save(study), ledger, executor, tell, targets, keep)
        return report(study.name, ledger, reports, tell)


def carry_out(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    tell: Listener,
    targets: Mapping[plan.JobKind, str] = TARGETS,
    keep: Keep = "confirmed",
) -> None:
    """Do whatever is ready until nothing is: the whole study, or what is left of it."""
    agenda, session = Agenda(study, ledger), Session(ledger, study.name, executor.capacity)
    running: dict[str, plan.Job] = {}
    died: set[str] = set()
    waited_for: set[Holder] = set()
    _greet(agenda, tell)
    try:
        while True:
            if ledger.is_asked_to_stop(study.name):
                raise KeyboardInterrupt
            for found in agenda.update():
                _shed(found.job, found.state, ledger, keep)
                tell(found)
            taken = _start(agenda, running, ledger, executor, tell, targets)
            if not running and not taken:
                if agenda.due():
                    continue
                return
            if not running:
                _wait_for(taken, waited_for, tell)
            for event in executor.wait(POLL_S) if running else ():
                job = running[event.task.key]
                if isinstance(event, protocol.EpochEnded):
                    tell(EpochEnded(job, event.epoch))
                elif event.ending == "disk full":
                    raise StudyError(f"{event.reason}. Free some space, then go on with the same command.")
                elif event.ending == "died" and job.key not in died and not outcomes.is_done(job, ledger):
                    died.add(job.key)
                    tell(Retried(job, event.reason))
                    executor.submit(event.task)
                else:
                    del running[job.key]
                    state = outcomes.settle(job, event, ledger)
                    ledger.release(event.task.folder)
                    agenda.ended(job)
                    if job.kind == "train":
                        session.trained()
                    _shed(job, state, ledger, keep)
                    tell(Ended(job, state))
    finally:
        executor.close()
        ledger.release_all()
        session.keep()


def report(name: str, ledger: Ledger, reports: Path, tell: Listener) -> Findings:
    """Draw the findings from the ledger and write the report; nothing is trained or measured."""
    from study.analysis.analyse import findings as analyse
    from study.reporting.write import write

    findings = analyse(gather(ledger, ledger.study(name)))
    write(findings, reports / name)
    tell(Concluded(findings, reports / name))
    return findings


def _greet(agenda: Agenda, tell: Listener) -> None:
    """Tell what is asked, and how much of it is known to be done."""
    states = [state for _, state in known(agenda.study, agenda.state) if state.final]
    failed = sum(state.failure is not None for state in states)
    tell(Began(agenda.study, plan.size(agenda.study), len(states) - failed, failed))


def _start(
    agenda: Agenda,
    running: dict[str, plan.Job],
    ledger: Ledger,
    executor: Executor,
    tell: Listener,
    targets: Mapping[plan.JobKind, str],
) -> dict[Holder, plan.Job]:
    """Start what is due and nobody else is doing; return a job of each other conductor that does one of ours."""
    taken: dict[Holder, plan.Job] = {}
    for job in agenda.due():
        if len(running) == executor.capacity:
            break
        if job.key in running:
            continue
        folder = outcomes.folder(job, ledger)
        if holder := ledger.claim(folder):
            taken[holder] = job
        elif not agenda.is_still_due(job):
            ledger.release(folder)
        else:
            executor.submit(outcomes.task(job, ledger, targets))
            running[job.key] = job
            tell(Started(job))
    return taken


def _shed(job: plan.Job, state: RunState, ledger: Ledger, keep: Keep) -> None:
    """Free what no one will read of a search trial, now or after a kill that came in between."""
    if job.purpose == "search" and keep != "all" and state.result is not None and state.kept:
        ledger.drop_weights(job.run)


def _wait_for(taken: Mapping[Holder, plan.Job], waited_for: set[Holder], tell: Listener) -> None:
    """Wait for other conductors; say of each once that nothing else is left to do."""
    for holder, job in taken.items():
        if holder not in waited_for:
            waited_for.add(holder)
            tell(Waiting(job, holder))
    time.sleep(POLL_S)
