"""What the conductor asks of whoever runs its jobs."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from study.errors import StudyError
from study.records import Epoch, RunSpec

Ending = Literal["returned", "raised", "died", "disk full"]
"""``died``: the process was gone, without an exception that could be told."""


@dataclass(frozen=True)
class Call:
    """A function to call with a run's request, its folder and a function that takes each epoch."""

    key: str
    """Names the call among those that run."""
    target: str
    """``module:function``; imported by the worker, never by the executor."""
    run: RunSpec
    folder: Path
    arguments: tuple[str, ...] = ()
    """What the function is called with besides."""
    timeout_s: float | None = None
    """How long it may take; None for no limit."""
    devices: int = 1
    """GPUs that it is given, where the executor has any."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables, set before the target is imported."""


@dataclass(frozen=True)
class CallEpoch:
    """A worker reported an epoch."""

    call: Call
    epoch: Epoch


@dataclass(frozen=True)
class CallEnded:
    """A call is over; what it left in its folder says how."""

    call: Call
    ending: Ending = "returned"
    reason: str = ""
    """One line on a worker that died or raised."""
    detail: str = ""
    """Its traceback, or its last output."""
    device: str = ""
    """What it was given to compute on, such as ``cuda:1`` or ``cuda:0,1``; empty where it had all that there is."""


Event = CallEpoch | CallEnded


def ending_of(error: BaseException) -> Ending:
    """Return how a call ended that raised: a full disk is no fault of the call."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk full" if full else "raised"


def reason_of(error: BaseException) -> str:
    """Return why a call failed, in one line where the error has one: a message for people stands by itself."""
    return str(error) if isinstance(error, StudyError) else f"{type(error).__name__}: {error}"


def detail_of(error: BaseException) -> str:
    """Return what the error says besides, such as a program's last output, else the traceback."""
    said = getattr(error, "detail", "") if isinstance(error, StudyError) else ""
    return said or "".join(traceback.format_exception(error))


class Executor(Protocol):
    """Runs calls, some at a time; knows nothing of training."""

    @property
    def capacity(self) -> int:
        """How many calls run at a time."""

    def submit(self, call: Call) -> None:
        """Start a call; called only while fewer than `capacity` are running."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Return what happened, as soon as something does and no later than the time given."""

    def close(self) -> None:
        """Stop whatever still runs and free what is held."""
