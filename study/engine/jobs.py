"""Prepare the call of a job, and record its result or its failure with reason and environment."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from study.engine import plan
from study.engine.queue import training_states
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
    """Write the run's request and return the call with which an executor does a job."""
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
    """Return whether the ledger has the result of a job."""
    state = job.state_in(ledger.state)
    return {
        "train": state.pruned is not None or (state.result is not None and state.weights_available),
        "evaluate": state.tested,
        "measure": job.measure in state.measured,
        "profile": ledger.profile(job.run) is not None,
    }[job.kind]


def record_end(job: plan.Job, event: CallEnded, ledger: Ledger) -> RunState:
    """Return the state of an ended job's run; write a failure with its reason if the job left no result."""
    state = job.state_in(ledger.state)
    if is_done(job, ledger):
        # a profile succeeds even if the training of its run failed
        return replace(state, failure=None)
    reason = event.reason or "the job returned without writing its result"
    failure = Failure(job.run.id, job.kind, reason, event.detail, _environment(job, event))
    ledger.save_failure(folder(job, ledger), failure, job.measure)
    return replace(state, failure=failure)


def ended_trainings(study: StudyRecord, ledger: Ledger) -> int:
    """Return how many of the study's trainings have ended, well or badly."""
    return sum(state.final for _, state in training_states(ledger.with_decisions(study), Snapshot(ledger)))


def failures(study: StudyRecord, ledger: Ledger) -> list[tuple[plan.Job, Failure]]:
    """Return every training, test, measure and profile of the study that failed, with the reason."""
    study, states = ledger.with_decisions(study), Snapshot(ledger)
    failed_jobs = [
        failed
        for job, state in training_states(study, states)
        for failed in _failures_of_run(study, job, state)
    ]
    return failed_jobs + list(_profile_failures(study, ledger, states))


def remove_failures(study: StudyRecord, ledger: Ledger) -> int:
    """Let the study's failed runs be tried again; return their number."""
    failed = {job.run.id: job.run for job, _ in failures(study, ledger)}
    for run in failed.values():
        ledger.remove_failures(run)
    return len(failed)


def _failures_of_run(
    study: StudyRecord, job: plan.Job, state: RunState
) -> Iterator[tuple[plan.Job, Failure]]:
    if state.failure is not None:
        yield job, state.failure
    for measure in study.measures:
        if measure in state.unmeasured:
            yield replace(job, kind="measure", measure=measure), state.unmeasured[measure]


def _profile_failures(
    study: StudyRecord, ledger: Ledger, states: plan.States
) -> Iterator[tuple[plan.Job, Failure]]:
    for variant in study.variants if study.has_profile else ():
        run = plan.profiled_run(study, variant, states)
        failure = ledger.profile_failure(run) if run is not None else None
        if run is not None and failure is not None:
            yield plan.Job("profile", run, variant.name, "profile", 0), failure


def _environment(job: plan.Job, event: CallEnded) -> dict[str, str]:
    device = event.device or job.run.device
    if event.host:
        return {"host": event.host, "device": device}
    return {"host": socket.gethostname(), "device": device, **_machine_facts(_this_machine())}


def _machine_facts(facts: Machine) -> dict[str, str]:
    return {"hardware": facts.hardware, "platform": facts.platform, **facts.versions}


@cache
def _this_machine() -> Machine:
    return machine()  # without the name of a GPU: the conductor does not import torch
