"""What the conductor asks of whoever runs its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from study.records import Epoch, RunSpec


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
    """A task is over; what it left in its folder says how. `reason` tells of a worker that died or raised."""

    task: Task
    reason: str | None = None
    detail: str = ""


Event = EpochEnded | Ended


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
