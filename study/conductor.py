"""The story of a study: from a file that asks to a report that answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from study import plan
from study.analysis.findings import Findings
from study.analysis.gather import gather
from study.events import Began, Concluded, Ended, EpochEnded, Found, Listener, Started
from study.executors import protocol
from study.executors.protocol import Executor, Task
from study.ledger.record import (
    RunState,
    StudyRecord,
)
from study.ledger.store import Ledger
from study.prepare import TARGETS
from study.records import Failure
from study.search import suggest

POLL_S = 0.5


def run(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    reports: Path,
    tell: Listener,
    targets: Mapping[plan.JobKind, str] = TARGETS,
) -> Findings:
    """Carry the study out and write its report.

    Raises:
        StudyError: Another conductor holds the study.
    """
    with ledger.hold(study.name):
        carry_out(ledger.save(study), ledger, executor, tell, targets)
        return report(study.name, ledger, reports, tell)


def carry_out(
    study: StudyRecord,
    ledger: Ledger,
    executor: Executor,
    tell: Listener,
    targets: Mapping[plan.JobKind, str] = TARGETS,
) -> None:
    """Do whatever is ready until nothing is: the whole study, or what is left of it."""
    begun, clock = datetime.now(UTC), time.monotonic()
    running: dict[str, plan.Job] = {}
    told: set[str] = set()
    trained = 0
    _greet(study, ledger, tell)
    try:
        while True:
            step = plan.ready(study, ledger.state, _profiled(study, ledger))
            for ask in step.asks:
                tried = suggest(study.space, study.sampler, ask.history, ask.seed)
                study = ledger.suggest(study, ask.decision, tried)
            if step.asks:
                continue
            _tell_found(study, ledger, told, tell)
            for job in step.jobs:
                if job.key not in running and len(running) < executor.capacity:
                    executor.submit(_task(job, ledger, targets))
                    running[job.key] = job
                    told.add(job.key)
                    tell(Started(job))
            if not running:
                return
            for event in executor.wait(POLL_S):
                job = running[event.task.key]
                if isinstance(event, protocol.EpochEnded):
                    tell(EpochEnded(job, event.epoch))
                else:
                    del running[job.key]
                    trained += job.kind == "train"
                    tell(Ended(job, _settle(job, event, ledger)))
    finally:
        executor.close()
        if trained:
            session = {
                "begun": begun.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - clock, 1),
                "trainings": trained,
                "workers": executor.capacity,
                "commit": _commit(),
            }
            ledger.log_session(study.name, session)


def report(name: str, ledger: Ledger, reports: Path, tell: Listener) -> Findings:
    """Draw the findings from the ledger and write the report; nothing is trained or measured."""
    from study.analysis.analyse import findings as analyse
    from study.reporting.write import write

    findings = analyse(gather(ledger, ledger.study(name)))
    write(findings, reports / name)
    tell(Concluded(findings, reports / name))
    return findings


def done(study: StudyRecord, ledger: Ledger) -> int:
    """Return how many of the study's trainings have ended, well or badly."""
    return sum(state.final for _, state in _known(ledger.with_suggestions(study), ledger))


def failures(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, Failure]]:
    """Return every training, measure and profile of the study that ended without a result, with the reason."""
    study = ledger.with_suggestions(study)
    found = [failed for job, state in _known(study, ledger) for failed in _failures(study, job, state)]
    return found + list(_unprofiled(study, ledger))


def forget_failures(study: StudyRecord, ledger: Ledger) -> int:
    """Let the study's failed runs be tried again; return how many there are."""
    failed = {job.run.id: job.run for job, _ in failures(study, ledger)}
    for run in failed.values():
        ledger.forget_failure(run)
    return len(failed)


def _failures(study: StudyRecord, job: plan.Job, state: RunState) -> Iterator[tuple[plan.Job, Failure]]:
    if state.failure is not None:
        yield job, state.failure
    if job.purpose == "confirm":
        if state.result is not None and state.result.status == "diverged":
            yield (
                job,
                Failure(
                    job.run.id, "train", "the training diverged: its loss or gradients were not finite", ""
                ),
            )
        for measure in study.measures:
            if measure in state.unmeasured:
                yield replace(job, kind="measure", measure=measure), state.unmeasured[measure]


def _unprofiled(study: StudyRecord, ledger: Ledger) -> Iterator[tuple[plan.Job, Failure]]:
    for variant in study.variants:
        network = plan.profile_of(study, variant, ledger.state)
        failure = ledger.profile_failure(network) if network is not None else None
        if network is not None and failure is not None:
            yield plan.Job("profile", network, variant.name, "profile", 0), failure


def _greet(study: StudyRecord, ledger: Ledger, tell: Listener) -> None:
    """Tell what is asked, and how much of it is known to be done."""
    states = [state for _, state in _known(study, ledger) if state.final]
    failed = sum(state.failure is not None for state in states)
    tell(Began(study, plan.size(study), len(states) - failed, failed))


def _tell_found(study: StudyRecord, ledger: Ledger, told: set[str], tell: Listener) -> None:
    """Tell of every training that has just been decided and was already done, here or by another study."""
    for job, state in _known(study, ledger):
        if state.final and job.key not in told:
            told.add(job.key)
            tell(Found(job, state))


def _known(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, RunState]]:
    """Return every training that the study's suggestions decide so far, with what the ledger holds of it."""
    return [(job, ledger.state(job.run.id)) for job in plan.trainings(study, ledger.state)]


def _task(job: plan.Job, ledger: Ledger, targets: Mapping[plan.JobKind, str]) -> Task:
    if job.kind != "profile":
        ledger.begin(job.run)
    arguments = (job.measure,) if job.measure else ()
    return Task(job.key, targets[job.kind], job.run, _folder(job, ledger), arguments)


def _folder(job: plan.Job, ledger: Ledger) -> Path:
    return ledger.profile_folder(job.run) if job.kind == "profile" else ledger.run_folder(job.run)


def _settle(job: plan.Job, event: protocol.Ended, ledger: Ledger) -> RunState:
    """Return what an ended job left behind; without what it was for, it is a failure with a reason."""
    state = ledger.state(job.run.id)
    done = {
        "train": state.result is not None,
        "evaluate": state.tested,
        "measure": job.measure in state.measured,
        "profile": ledger.profile(job.run) is not None,
    }[job.kind]
    if done:
        return state
    reason = event.reason or "the job returned without writing its result"
    failure = Failure(job.run.id, job.kind, reason, event.detail)
    ledger.fail(_folder(job, ledger), failure, job.measure)
    return replace(state, failure=failure)


def _profiled(study: StudyRecord, ledger: Ledger) -> frozenset[str]:
    networks = ((v.name, plan.profile_of(study, v, ledger.state)) for v in study.variants)
    return frozenset(name for name, network in networks if network and ledger.is_profiled(network))


def _commit() -> str:
    """Return the commit that the working folder is at, marked where files differ from it."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "not under version control"
