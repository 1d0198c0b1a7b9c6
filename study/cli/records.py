"""What ``--json`` prints: plans, progress, events and errors as JSON, for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.api import Plan
    from study.engine.events import Event
    from study.engine.plan import Job
    from study.engine.status import StudyStatus
    from study.errors import StudyError

SCHEMA = 1
Record = dict[str, Any]


@contextmanager
def json_output() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that prints a record as a line of standard output; other text goes to standard error."""
    stream = sys.stdout

    def write(record: Mapping[str, Any]) -> None:
        print(
            json.dumps(record, ensure_ascii=False, default=_plain, allow_nan=False), file=stream, flush=True
        )

    with redirect_stdout(sys.stderr):
        yield write


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else str(value)


def plan_record(plan: Plan) -> Record:
    """Return a plan: costs, variants, values with their keys and origins, and the state of each training."""
    listing, time = plan.listing, plan.time
    return {
        "schema": SCHEMA,
        "study": plan.study.name,
        "question": plan.study.question,
        "trainings": plan.trainings,
        "cached": plan.cached,
        "seconds": plan.seconds,
        "seconds_a_training": None if time is None else time.seconds,
        "workers": plan.workers,
        "bytes": plan.bytes,
        "free_bytes": plan.free_bytes,
        "sd": None if plan.spread is None else plan.spread.sd,
        "variants": [
            {"name": variant.name, "is_reference": variant.is_reference, "levels": dict(variant.levels)}
            for variant in plan.study.variants
        ],
        "effects": [effect.name for effect in plan.study.family],
        "values": [asdict(value) for value in plan.values],
        "states": [
            {
                **_job_record(training.job),
                "status": training.status,
                "epoch": training.epoch,
                "failure": training.failure,
            }
            for training in listing.decided
        ],
        "undetermined": [asdict(each) for each in listing.undetermined],
        "unsound": list(plan.study.data.unsound),
    }


def status_record(status: StudyStatus) -> Record:
    """Return the progress of a study."""
    return {
        "schema": SCHEMA,
        "study": status.study,
        "question": status.question,
        "is_running": status.holder is not None,
        "workers": status.workers,
        "seconds_left": status.seconds_left,
        "counts": asdict(status.counts),
        "variants": [{"name": each.name, **asdict(each.counts)} for each in status.variants],
    }


def event_record(event: Event) -> Record:
    """Return an event of a running study, its type first."""
    record: Record = {"event": type(event).__name__}
    if (job := getattr(event, "job", None)) is not None:
        record |= _job_record(job)
    for name in ("total", "cached", "failed", "workers", "step", "reason", "seconds"):
        if hasattr(event, name):
            record[name] = getattr(event, name)
    if (epoch := getattr(event, "epoch", None)) is not None:
        record |= {"epoch": epoch.epoch, "loss": epoch.train_loss, "validation": dict(epoch.validation)}
    if (state := getattr(event, "state", None)) is not None:
        record["failure"] = state.failure.reason if state.failure else None
        record["pruned_after"] = state.pruned.epoch if state.pruned else None
        record["validation"] = dict(state.result.validation) if state.result else None
    return record


def error_record(error: StudyError) -> Record:
    """Return an error as scripts read it."""
    from study.errors import ErrorCode, InputError, Mistake

    mistake = error.mistake.placed() if isinstance(error, InputError) else Mistake(ErrorCode.FAILED)
    return {
        "schema": SCHEMA,
        "error": {
            "code": mistake.code,
            "exit_code": error.exit_code,
            "message": str(error),
            "key": mistake.key or None,
            "got": mistake.got,
            "allowed": mistake.allowed or None,
            "nearest": mistake.nearest,
            "file": mistake.file,
            "line": mistake.line,
        },
    }


def _job_record(job: Job) -> Record:
    return {
        "kind": job.kind,
        "variant": job.variant,
        "purpose": job.purpose,
        "number": job.number + 1,
        "repetition": None if job.repetition is None else job.repetition + 1,
        "fold": job.run.fold,
        "run": job.run.id,
    }
