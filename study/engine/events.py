"""Events of a study that is carried out: what the progress display and the trackers listen to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study.analysis.findings import Findings
from study.engine.plan import Job
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord
from study.records import Epoch


@dataclass(frozen=True)
class Began:
    """The study is planned: of its `total` trainings, `cached` are done and `failed` have failed before."""

    study: StudyRecord
    total: int
    cached: int
    failed: int = 0


@dataclass(frozen=True)
class Found:
    """A run that an earlier session finished, or began; where it has no result, `history` says how far it got."""

    job: Job
    state: RunState
    history: tuple[Epoch, ...] = ()


@dataclass(frozen=True)
class Started:
    """A worker took a job."""

    job: Job


@dataclass(frozen=True)
class EpochEnded:
    """A training reported an epoch."""

    job: Job
    epoch: Epoch


@dataclass(frozen=True)
class JobEnded:
    """A job is over; the state says how."""

    job: Job
    state: RunState


@dataclass(frozen=True)
class Concluded:
    """The findings are drawn and the report is written; `over` where nothing of the study is left to do."""

    findings: Findings
    report: Path
    over: bool = True


@dataclass(frozen=True)
class Retried:
    """The worker of a job died, and the job was given to another, once."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Waiting:
    """All that is left to do now is being done for another study, such as this job."""

    job: Job
    holder: Holder


Event = Began | Found | Started | EpochEnded | JobEnded | Concluded | Retried | Waiting
Listener = Callable[[Event], None]
