"""Events of a study that is carried out, for the progress display and the trackers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from study.analysis.findings import Findings
from study.engine.plan import Job
from study.ledger.locks import Holder
from study.ledger.record import Interim, RunState, StudyRecord
from study.records import Epoch


class Step(StrEnum):
    """What is done before the first training starts."""

    PREPARE = "prepare"
    """The study's own preparation, such as a download."""
    WORKERS = "workers"
    """Processes start and import their libraries."""
    CHECK = "check"
    """Every variant is tried on one batch."""


@dataclass(frozen=True)
class Preparing:
    """A step before the first training begins; `workers` is the number of processes, if it starts them."""

    step: Step
    workers: int = 0


@dataclass(frozen=True)
class StudyStarted:
    """The study is planned: of its `total` trainings, `cached` have results and `failed` failed earlier."""

    study: StudyRecord
    total: int
    cached: int
    failed: int = 0


@dataclass(frozen=True)
class TrainingFound:
    """The ledger has a training that an earlier session ended or began."""

    job: Job
    state: RunState
    history: tuple[Epoch, ...] = ()
    """The epochs of a training without a result."""


@dataclass(frozen=True)
class JobStarted:
    """A worker started a job."""

    job: Job


@dataclass(frozen=True)
class EpochEnded:
    """A training reported an epoch."""

    job: Job
    epoch: Epoch


@dataclass(frozen=True)
class JobEnded:
    """A job has ended, with the state of its run."""

    job: Job
    state: RunState


@dataclass(frozen=True)
class LookTaken:
    """A look has been decided; `total` trainings are planned now."""

    study: StudyRecord
    interim: Interim
    total: int


@dataclass(frozen=True)
class StudyConcluded:
    """The findings are computed and the report is written; `over` if nothing of the study is left to do."""

    findings: Findings
    report: Path
    over: bool = True


@dataclass(frozen=True)
class JobRetried:
    """The worker of a job died, or its machine was lost, and the job is started again."""

    job: Job
    reason: str


@dataclass(frozen=True)
class JobSilent:
    """The worker of a job has reported nothing and printed nothing for `seconds`."""

    job: Job
    seconds: float


@dataclass(frozen=True)
class JobPending:
    """The cluster has not started a job that was submitted `seconds` ago, for the reason that it gives."""

    job: Job
    reason: str
    seconds: float


@dataclass(frozen=True)
class WeightsDamaged:
    """The weights that a job reads were damaged and have been removed; the run is trained again, once."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Waiting:
    """Other conductors do all jobs that are left: `holder` does `job` for another study."""

    job: Job
    holder: Holder


Event = (
    Preparing
    | StudyStarted
    | TrainingFound
    | JobStarted
    | EpochEnded
    | JobEnded
    | LookTaken
    | StudyConcluded
    | JobRetried
    | JobSilent
    | JobPending
    | WeightsDamaged
    | Waiting
)
Listener = Callable[[Event], None]
