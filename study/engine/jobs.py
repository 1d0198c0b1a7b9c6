"""Where a job does its work, and what it leaves: a result, or a failure with its reason and environment."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from study.engine import plan
from study.engine.queue import known
from study.executors.base import Call, CallEnded
from study.hashing import canonical_json
from study.ledger.record import RunState, StudyRecord
from study.ledger.store import Ledger, Snapshot
from study.machine import machine
from study.records import Failure, Machine


def folder(job: plan.Job, ledger: Ledger) -> Path:
    """Return the folder that a job writes to."""
    return ledger.profile_folder(job.run) if job.kind == "profile" else ledger.run_folder(job.run)


TARGETS: Mapping[plan.JobKind, str] = {
    "train": "study.tasks.work:train",
    "evaluate": "study.tasks.work:evaluate",
    "measure": "study.tasks.work:measure",
    "profile": "study.tasks.work:profile",
}
"""The function that a worker calls for each kind of job."""


def call(
    job: plan.Job,
    ledger: Ledger,
    targets: Mapping[plan.JobKind, str],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Call:
    """Return what an executor needs to do a job; the run's request is written before."""
    if job.kind != "profile":
        ledger.begin(job.run)
    rule = canonical_json(job.rule) if job.rule else ""
    arguments = tuple(argument for argument in (job.measure, rule) if argument)
    options = job.run.options
    return Call(
        job.key,
        targets[job.kind],
        job.run,
        folder(job, ledger),
        arguments,
        timeout_s=options.get("timeout_s") or None,
        devices=options.get("gpus") or 1,
        env=environment,
    )


def is_done(job: plan.Job, ledger: Ledger) -> bool:
    """Whether what a job is for lies in the ledger."""
    state = job.seen(ledger.state)
    return {
        "train": state.pruned is not None or (state.result is not None and state.kept),
        "evaluate": state.tested,
        "measure": job.measure in state.measured,
        "profile": ledger.profile(job.run) is not None,
    }[job.kind]


def settle(job: plan.Job, event: CallEnded, ledger: Ledger) -> RunState:
    """Return what an ended job left behind; without what it was for, it is a failure with a reason."""
    state = job.seen(ledger.state)
    if is_done(job, ledger):
        # the network of a run whose training failed is profiled all the same
        return replace(state, failure=None)
    reason = event.reason or "the job returned without writing its result"
    failure = Failure(job.run.id, job.kind, reason, event.detail, _environment(job, event))
    ledger.fail(folder(job, ledger), failure, job.measure)
    return replace(state, failure=failure)


def done(study: StudyRecord, ledger: Ledger) -> int:
    """Return how many of the study's trainings have ended, well or badly."""
    return sum(state.final for _, state in known(ledger.with_suggestions(study), Snapshot(ledger)))


def failures(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, Failure]]:
    """Return every training, measure and profile of the study that ended without a result, with the reason."""
    study, states = ledger.with_suggestions(study), Snapshot(ledger)
    found = [failed for job, state in known(study, states) for failed in _failures(study, job, state)]
    return found + list(_unprofiled(study, ledger, states))


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
            reason = "the training diverged: a value that must be finite was not"
            yield job, Failure(job.run.id, "train", reason, "", _described(state.result.machine))
        for measure in study.measures:
            if measure in state.unmeasured:
                yield replace(job, kind="measure", measure=measure), state.unmeasured[measure]


def _unprofiled(
    study: StudyRecord, ledger: Ledger, states: plan.Finished
) -> Iterator[tuple[plan.Job, Failure]]:
    for variant in study.variants if study.has_profile else ():
        network = plan.profile_of(study, variant, states)
        failure = ledger.profile_failure(network) if network is not None else None
        if network is not None and failure is not None:
            yield plan.Job("profile", network, variant.name, "profile", 0), failure


def _environment(job: plan.Job, event: CallEnded) -> dict[str, str]:
    place = {"host": socket.gethostname(), "device": event.device or job.run.device}
    return {**place, **_described(_this_machine())}


def _described(found: Machine) -> dict[str, str]:
    return {"hardware": found.hardware, "platform": found.platform, **found.versions}


@cache
def _this_machine() -> Machine:
    return machine()  # of a GPU the conductor, which imports no torch, knows the number alone
