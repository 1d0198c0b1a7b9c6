"""The protocol of executors, which run the conductor's jobs."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from study.errors import DamagedWeightsError, StudyError
from study.files import is_disk_full
from study.names import without_halves
from study.records import Epoch, RunSpec


class Ending(StrEnum):
    """How a call ended."""

    RETURNED = "returned"
    RAISED = "raised"
    DIED = "died"
    """The process ended without reporting an exception."""
    DISK_FULL = "disk-full"
    DAMAGED = "damaged"
    """The weights that it reads are damaged and were removed."""


@dataclass(frozen=True)
class Call:
    """A function to call with a run, its folder and a function that takes each epoch."""

    key: str
    """Identifies the call among the running ones."""
    target: str
    """``module:function``; imported by the worker, never by the executor."""
    run: RunSpec
    folder: Path
    arguments: tuple[str, ...] = ()
    """Further positional arguments."""
    timeout_s: float | None = None
    """The longest time that it may take; None for no limit."""
    devices: int = 1
    """The number of GPUs that it gets if the executor has any."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables, set before the target is imported."""
    alone: str = ""
    """Calls in which this differs share no process."""


@dataclass(frozen=True)
class CallEpoch:
    """A worker reported an epoch."""

    call: Call
    epoch: Epoch


@dataclass(frozen=True)
class CallEnded:
    """A call has ended; its result is in its folder."""

    call: Call
    ending: Ending = Ending.RETURNED
    reason: str = ""
    """Why the worker died or raised, in one line."""
    detail: str = ""
    """The traceback, or the last output."""
    device: str = ""
    """The devices that it got, such as ``cuda:1`` or ``cuda:0,1``; empty if it had all of them."""


@dataclass(frozen=True)
class CallSilent:
    """A worker has reported nothing and printed nothing for a long time; reported once until it does again."""

    call: Call
    seconds: float


Event = CallEpoch | CallSilent | CallEnded


def ending_of(error: BaseException) -> Ending:
    """Return the ending of a call that raised; a full disk is not the fault of the call."""
    if isinstance(error, DamagedWeightsError):
        return Ending.DAMAGED
    return Ending.DISK_FULL if is_disk_full(error) else Ending.RAISED


def reason_of(error: BaseException) -> str:
    """Return why a call failed: the message of a `StudyError`, else the error's type and message."""
    return without_halves(str(error) if isinstance(error, StudyError) else f"{type(error).__name__}: {error}")


def detail_of(error: BaseException) -> str:
    """Return the detail of a `StudyError`, such as a program's last output, else the traceback."""
    detail = getattr(error, "detail", "") if isinstance(error, StudyError) else ""
    return without_halves(detail or "".join(traceback.format_exception(error)))


class Executor(Protocol):
    """Runs several calls at a time, independently of what they train."""

    @property
    def capacity(self) -> int:
        """The number of calls that run at a time."""

    def submit(self, call: Call) -> None:
        """Start a call; called only while fewer than `capacity` are running."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Return the next events, after `timeout_s` at the latest; empty if there are none."""

    def close(self) -> None:
        """Stop all running calls and free all resources."""
