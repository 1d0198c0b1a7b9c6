"""States of Slurm jobs, read from the output of squeue, sacct and scontrol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from study.executors.base import Ending

QUEUE_FORMAT = "%i|%T|%r|%j"
"""The columns of squeue: id, state, reason, name."""
ACCOUNT_FORMAT = "JobID,State,Reason,ExitCode,NodeList"
"""The columns of sacct."""


class JobState(StrEnum):
    """What Slurm calls the state of a job; https://slurm.schedmd.com/job_state_codes.html."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PREEMPTED = "PREEMPTED"
    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    REVOKED = "REVOKED"
    LOST = "LOST"
    """The scheduler knows no such job."""


_TRANSIENT = {
    "CONFIGURING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "STOPPED": JobState.SUSPENDED,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
}
"""States on the way to another one, or back to the queue."""
_LIVE = frozenset({JobState.PENDING, JobState.RUNNING, JobState.SUSPENDED})
NEVER_STARTS = frozenset(
    {
        "AccountNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "QOSNotAllowed",
    }
)
"""Reasons of pending jobs that no wait removes; https://slurm.schedmd.com/job_reason_codes.html."""
_ENDINGS = {
    JobState.CANCELLED: Ending.CANCELLED,
    JobState.PREEMPTED: Ending.PREEMPTED,
    JobState.NODE_FAIL: Ending.LOST,
    JobState.BOOT_FAIL: Ending.LOST,
    JobState.REVOKED: Ending.LOST,
    JobState.LOST: Ending.LOST,
}
"""How the calls of a job end whose state is none of their own doing."""
_NO_REASON = ("", "None", "(null)", "Unknown")


@dataclass(frozen=True)
class JobStatus:
    """What the scheduler knows of a job."""

    state: JobState
    reason: str = ""
    """Slurm's code of the reason, such as ``Priority``; empty where it gives none."""
    detail: str = ""
    """Who cancelled it, its exit code and its nodes, as sacct gives them."""

    @property
    def is_live(self) -> bool:
        """Whether the job may still run."""
        return self.state in _LIVE

    @property
    def never_starts(self) -> bool:
        """Whether the job is pending for a reason that no wait removes."""
        return self.state is JobState.PENDING and self.reason in NEVER_STARTS

    @property
    def ending(self) -> Ending:
        """How the calls end that an ended job has not ended itself."""
        return _ENDINGS.get(self.state, Ending.DIED)

    def __str__(self) -> str:
        """Return the state with its reason and details."""
        parts = ", ".join(part for part in (self.reason, self.detail) if part)
        return f"{self.state} ({parts})" if parts else str(self.state)


@dataclass(frozen=True)
class QueuedJob:
    """A job in the queue."""

    id: str
    name: str
    status: JobStatus


def read_queue(text: str) -> list[QueuedJob]:
    """Return the jobs that ``squeue -h -r -o QUEUE_FORMAT`` lists."""
    rows = (line.strip().split("|", 3) for line in text.splitlines() if line.count("|") >= 3)
    return [QueuedJob(id_, name, _status(state, reason)) for id_, state, reason, name in rows]


def read_accounts(text: str) -> dict[str, JobStatus]:
    """Return the status of each job, by id, that ``sacct -X -n -P -o ACCOUNT_FORMAT`` lists.

    The last row of a job that was requeued counts.
    """
    found: dict[str, JobStatus] = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) != ACCOUNT_FORMAT.count(",") + 1:
            continue
        ids, state, reason, code, nodes = fields
        word, _, who = state.partition(" ")
        details = (who, f"exit code {code}" if code not in ("", "0:0") else "", _on(nodes))
        status = _status(word, reason, ", ".join(detail for detail in details if detail))
        found.update(dict.fromkeys(expanded(ids), status))
    return found


def read_job(text: str) -> JobStatus | None:
    """Return the status of the job that ``scontrol show job -o`` prints; None if it prints none."""
    fields = dict(word.split("=", 1) for word in text.split() if "=" in word)
    if "JobState" not in fields:
        return None
    return _status(fields["JobState"], fields.get("Reason", ""), _on(fields.get("NodeList", "")))


def expanded(ids: str) -> Iterator[str]:
    """Yield the ids of the jobs that Slurm writes in short, such as ``12_[0-2,5%4]``."""
    base, bracket, rest = ids.partition("_[")
    if not bracket:
        yield ids
        return
    for part in rest.rstrip("]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            last = last.partition(":")[0]
            yield from (f"{base}_{index}" for index in range(int(first), int(last or first) + 1))


def minutes_of(time: str) -> int:
    """Return a time in Slurm's forms (``90``, ``90:00``, ``1:30:00``, ``1-2``, ``1-2:30``) in minutes, rounded up.

    Raises:
        ValueError: It has none of these forms, or is 0.
    """
    days, dash, clock = time.strip().rpartition("-")
    if dash and not days.isdecimal():
        raise ValueError(time)
    numbers = [int(part) for part in clock.split(":")]
    if dash:  # days-hours[:minutes[:seconds]]
        numbers = [*numbers, 0, 0][:3] if len(numbers) <= 3 else []
    elif len(numbers) == 1:
        numbers = [0, numbers[0], 0]
    elif len(numbers) == 2:
        numbers = [0, *numbers]
    if len(numbers) != 3 or min(numbers) < 0:
        raise ValueError(time)
    hours, minutes, seconds = numbers
    total = (int(days or 0) * 24 + hours) * 60 + minutes + -(-seconds // 60)
    if total < 1:
        raise ValueError(time)
    return total


def _status(state: str, reason: str, detail: str = "") -> JobStatus:
    word = state.strip().rstrip("+").upper()
    known: Mapping[str, JobState] = {**JobState.__members__, **_TRANSIENT}
    given = reason.strip("()")
    return JobStatus(known.get(word, JobState.FAILED), "" if given in _NO_REASON else given, detail)


def _on(nodes: str) -> str:
    return "" if nodes in ("None assigned", *_NO_REASON) else f"on {nodes}"
