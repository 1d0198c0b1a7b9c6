"""What the conductor asks of whoever runs its jobs."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from study.records import Epoch, RunSpec

Ending = Literal["returned", "raised", "died", "disk full"]
"""``died``: the process was gone, without an exception that could be told."""


@dataclass(frozen=True)
class Task:
    """A function to call with a run's request, its folder and a function that takes each epoch."""

    key: str
    """Names the task among those that run."""
    target: str
    """``module:function``; imported by the worker, never by the executor."""
    run: RunSpec
    folder: Path
    arguments: tuple[str, ...] = ()
    """What the function is called with besides."""


@dataclass(frozen=True)
class EpochEnded:
    """A worker reported an epoch."""

    task: Task
    epoch: Epoch


@dataclass(frozen=True)
class Ended:
    """A task is over; what it left in its folder says how."""

    task: Task
    ending: Ending = "returned"
    reason: str = ""
    """One line on a worker that died or raised."""
    detail: str = ""
    """Its traceback, or its last output."""
    device: str = ""
    """What it was given to compute on, such as ``cuda:1``; empty where it had all that there is."""


Event = EpochEnded | Ended


def ending_of(error: BaseException) -> Ending:
    """Return how a task ended that raised: a full disk is no fault of the task."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk full" if full else "raised"


class Executor(Protocol):
    """Runs tasks, some at a time; knows nothing of training."""

    @property
    def capacity(self) -> int:
        """How many tasks run at a time."""

    def submit(self, task: Task) -> None:
        """Start a task; called only while fewer than `capacity` are running."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Return what happened, as soon as something does and no later than the time given."""

    def close(self) -> None:
        """Stop whatever still runs and free what is held."""
