"""The protocol of executors, which run the conductor's jobs, and of the engines that make them.

An executor is known by what it does with calls; `study.testing.executors` checks it. Retries are the conductor's: an
executor starts a call once for each `submit`, and reports how it ended. What a call returns is in its folder, which the
processes of the calls and the conductor share.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

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
    LOST = "lost"
    """Its machine is gone, or the cluster no longer knows the call."""
    PREEMPTED = "preempted"
    """The cluster took its machine for other work."""
    CANCELLED = "cancelled"
    """Somebody ended it in the cluster on purpose."""


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
    host: str = ""
    """The machine that ran it; empty for the conductor's."""


@dataclass(frozen=True)
class CallSilent:
    """A worker has reported nothing and printed nothing for a long time; reported once until it does again."""

    call: Call
    seconds: float


@dataclass(frozen=True)
class CallPending:
    """The cluster has not started a submitted call; reported again where the reason changes."""

    call: Call
    reason: str
    """The state and the reason that the cluster gives, in one line."""
    seconds: float
    """The time since the call was submitted."""


Event = CallEpoch | CallSilent | CallPending | CallEnded


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
    """Runs several calls at a time, independently of what they train.

    All members are called by one thread. If the conductor's process ends without `close`, its calls end too, or the
    executor of the next conductor attaches to them.
    """

    @property
    def capacity(self) -> int:
        """The number of calls that run at a time; it may change at any time, and be 0 for a while."""

    def submit(self, call: Call) -> None:
        """Start the call once, or attach to it where it still runs for an earlier conductor; do not wait for it.

        Called while fewer than `capacity` calls are submitted and not ended, and for a call that has just ended badly
        and is tried again.
        """

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Return the next events, after `timeout_s` at the latest; empty if there are none.

        A call's epochs come in their order, each once, and its `CallEnded` comes last and once for each `submit`; the
        files that the call wrote are visible by then.
        """

    def close(self) -> None:
        """Stop all running calls and free all resources; do nothing the second time."""


@dataclass(frozen=True)
class Work:
    """What an engine needs to know of the calls that a study will submit."""

    study: str
    """The study's name."""
    root: Path
    """The folder of study.toml."""
    ledger: Path
    """The folder of the ledger; every call's folder is below it."""
    device: Literal["cpu", "cuda"] = "cpu"
    gpus: int = 0
    """GPUs of each call; 0 on the CPU."""
    threads: int = 1
    """Threads that each call computes with."""
    preload: tuple[str, ...] = ()
    """Modules that a process may import before it takes calls."""
    import_paths: tuple[str, ...] = ()
    """Folders of the user's code, which must exist wherever a call runs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the calls."""
    workers: int | None = None
    """The most calls at a time; None for as many as there is room for."""
    runs_per_gpu: int | Literal["auto"] = 1
    """Calls that share a GPU of this machine."""
    silent_s: float = 0.0
    """Seconds without a sign of life after which a call is ended as if it had died; 0 for no limit."""


class CanDetach(Protocol):
    """An engine that carries a study out without the command that started it."""

    def detach(self, work: Work, arguments: Sequence[str]) -> str:
        """Start the study elsewhere, and return for people where it runs.

        Args:
            work: What the study's calls need.
            arguments: Of the command `study` that carries it out.

        Raises:
            StudyError: It cannot be started.
        """


class Engine(Protocol):
    """Makes executors: a frozen dataclass whose fields are the keys of ``[engine.NAME]`` in study.toml.

    Its module imports what the engine needs inside `executor`, so that the keys can be checked without it.
    """

    def executor(self, work: Work) -> Executor:
        """Return an executor for the calls of a study.

        Raises:
            InputError: The calls cannot run: a package is missing, or the machines have not what each call needs.
        """
