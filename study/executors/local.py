"""Run calls in worker processes on this machine, forked from a server that has imported the libraries."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from study.environment import environment
from study.executors.base import Call, CallEnded, CallEpoch, CallSilent, Ending, Event, Work
from study.executors.devices import VISIBLE, assigned, core_share, visible
from study.executors.sharing import MeasuredShare, slots
from study.executors.worker import Ended, serve
from study.ledger.layout import LOG, OWN_METRICS, OWN_OUTPUT

LAST_OUTPUT_LINES = 30
GRACE_S = 5.0
LONG_SILENCE_S = 600.0
"""After so long without a sign of life a worker is reported."""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Variables of every worker from its start, since Python and cuBLAS read them once."""
_HINTS: Mapping[int, str] = {
    signal.SIGKILL: ", which is what running out of memory looks like",
    signal.SIGBUS: ", which is what a full disk, or a full /dev/shm, under a mapped file looks like",
}
"""What the signals that end a worker mostly mean."""


@dataclass(frozen=True)
class Local:
    """Runs trainings in processes on this machine; its keys are those of study.toml itself."""

    def executor(self, work: Work) -> LocalWorkers:
        """Return an executor with as many processes as there are slots on this machine."""
        capacity, devices, share = slots(work)
        return LocalWorkers(capacity, devices, work.preload, work.silent_s, share)


@dataclass(frozen=True)
class _Host:
    """A process that takes call after call, as long as it is left as it was."""

    process: BaseProcess
    pipe: Connection
    key: tuple[object, ...]
    """What its calls have in common."""

    def end(self) -> None:
        """End the process, which runs no call; kill it if it does not end."""
        self.pipe.close()
        self.process.join(GRACE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass
class _Worker:
    """A call that runs in a process."""

    call: Call
    host: _Host
    log: Path
    slot: int
    devices: tuple[int, ...]
    deadline: float
    """By `time.monotonic`: the time at which it is terminated, then the time at which it is killed."""
    last_sign: float
    """By `time.time`: when it last reported or printed something."""
    has_reported: bool = False
    """Whether it has completed an epoch."""
    is_overdue: bool = False
    is_silent: bool = False
    """Whether it was reported as silent since the last sign of life."""
    was_silent_s: float = 0.0
    """How long it was silent when it was ended for that."""
    ended: Ended | None = None

    @property
    def process(self) -> BaseProcess:
        """The process that runs the call."""
        return self.host.process


class LocalWorkers:
    """Runs up to `capacity` worker processes at a time.

    Each has its own share of the processor cores if there are enough; the number of threads does not depend on it. A
    process takes the next call of its slot where both have the same environment, devices, components and import paths,
    and where the last call left it as it was; else the next call has a new process.

    Args:
        capacity: Processes at a time.
        devices: Indexes into the visible CUDA devices, which the slots use in turn, so that several may share
            one; empty if runs use the CPU.
        preload: Modules that the fork server imports once for all workers.
        silent_s: Seconds without a report or output after which a worker is ended as if it had died; 0 for no limit.
        share: Decides how many processes share a GPU, up to `capacity` in all; None for `capacity` from the start.
    """

    def __init__(
        self,
        capacity: int,
        devices: Sequence[int] = (),
        preload: Sequence[str] = (),
        silent_s: float = 0.0,
        share: MeasuredShare | None = None,
    ) -> None:
        self._most = capacity
        self._share = share
        self._silent_s = silent_s or math.inf
        self._devices = tuple(devices)
        self._running: list[_Worker] = []
        self._idle: dict[int, _Host] = {}
        """Processes without a call, by slot."""
        # fork is unsafe once torch has threads, and spawn imports torch anew for every run
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context: SpawnContext | ForkServerContext = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["__main__", *preload])
            _start_server()
        else:
            self._context = multiprocessing.get_context("spawn")

    @property
    def capacity(self) -> int:
        """The number of processes at a time, which grows while the GPUs have room for more."""
        return self._most if self._share is None else len(self._devices) * self._share.runs_per_gpu

    def submit(self, call: Call) -> None:
        """Start the call in a process; its output goes to ``log-<attempt>.txt`` in the call's folder."""
        call.folder.mkdir(parents=True, exist_ok=True)
        log = call.folder / LOG.format(len(list(call.folder.glob(LOG.format("*")))) + 1)
        slot = self._slot_for(call)
        devices = assigned(slot, call.devices, self._devices)
        host = self._host(call, slot)
        with contextlib.suppress(OSError):  # it has died, which `wait` reports
            host.pipe.send((call, log))
        deadline = time.monotonic() + (math.inf if call.timeout_s is None else call.timeout_s)
        self._running.append(_Worker(call, host, log, slot, devices, deadline, time.time()))

    def _slot_for(self, call: Call) -> int:
        """Return a free slot: one whose process can take the call, else one without a process, else the first."""
        free = sorted(set(range(self.capacity)) - {worker.slot for worker in self._running})
        suited = (
            slot for slot in free if slot in self._idle and self._idle[slot].key == self._key(call, slot)
        )
        empty = (slot for slot in free if slot not in self._idle)
        return next(suited, next(empty, free[0]))

    def _key(self, call: Call, slot: int) -> tuple[object, ...]:
        """Return what calls of one process have in common."""
        devices, run = assigned(slot, call.devices, self._devices), call.run
        environment = tuple(sorted(call.env.items()))
        return (slot, devices, environment, run.task, run.modules, run.import_paths, call.alone)

    def _host(self, call: Call, slot: int) -> _Host:
        """Return the process of a slot for a call: the idle one if it suits the call, else a new one."""
        key, idle = self._key(call, slot), self._idle.pop(slot, None)
        if idle is not None:
            if idle.key == key and idle.process.is_alive():
                return idle
            idle.end()
        env = dict(call.env)
        if self._devices:
            env[VISIBLE] = visible(assigned(slot, call.devices, self._devices), env.get(VISIBLE))
        own_end, worker_end = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(env, core_share(slot, self._most), worker_end), name=f"worker {slot}"
        )
        process.start()
        worker_end.close()
        return _Host(process, own_end, key)

    def wait(self, timeout_s: float) -> list[Event]:
        """Return new epochs and endings, waiting for the first no longer than `timeout_s`."""
        first = min((worker.deadline for worker in self._running), default=math.inf)
        pipes = [end for worker in self._running for end in (worker.host.pipe, worker.process.sentinel)]
        wait(pipes, max(0.0, min(timeout_s, first - time.monotonic())))
        events: list[Event] = []
        for worker in list(self._running):
            has_exited = not worker.process.is_alive()  # before the pipe is read to its end
            is_closed = False
            try:
                while worker.ended is None and worker.host.pipe.poll():
                    message = worker.host.pipe.recv()
                    worker.last_sign, worker.is_silent = time.time(), False
                    if isinstance(message, Ended):
                        worker.ended = message
                    else:
                        worker.has_reported = True
                        events.append(CallEpoch(worker.call, message))
            except (EOFError, OSError):
                is_closed = True
            # a process that the worker started may hold the pipe open, so its end alone does not count
            if has_exited or is_closed or worker.ended is not None:
                events.append(self._end(worker))
            else:
                events += self._check_silence(worker)
                _enforce_limit(worker)
        if self._share is not None and self._is_settled():
            self._share.update()
        return events

    def _is_settled(self) -> bool:
        """Return whether every place is taken by a run that has reported, so that the memory of each is known."""
        has_all = len(self._running) == self.capacity
        return has_all and all(worker.has_reported for worker in self._running)

    def _check_silence(self, worker: _Worker) -> Iterator[CallSilent]:
        """Report a worker that has been silent for long, once, and end one that exceeds the limit."""
        limit = min(LONG_SILENCE_S, self._silent_s)
        if time.time() - worker.last_sign < limit or worker.is_overdue:
            return
        sign = _last_sign(worker)
        if sign > worker.last_sign:
            worker.last_sign, worker.is_silent = sign, False
        silent_s = time.time() - worker.last_sign
        if silent_s >= limit and not worker.is_silent:
            worker.is_silent = True
            yield CallSilent(worker.call, silent_s)
        if silent_s >= self._silent_s:
            worker.was_silent_s, worker.deadline = silent_s, -math.inf

    def _end(self, worker: _Worker) -> CallEnded:
        """Remove a call that returned, raised, or whose process died; keep the process if it is as it was."""
        self._running.remove(worker)
        device = f"cuda:{','.join(map(str, worker.devices))}" if worker.devices else ""
        if worker.ended is not None and worker.ended.is_clean and not worker.is_overdue:
            self._idle[worker.slot] = worker.host
            return CallEnded(worker.call, Ending.RETURNED, device=device)
        worker.host.end()
        ended = worker.ended or _ended_by(worker.process.exitcode, worker.log)
        if worker.was_silent_s and worker.ended is None:
            silent = f"it reported and printed nothing for {worker.was_silent_s:.0f} s, and was ended"
            ended = Ended(Ending.DIED, f"{silent} (study.toml: silent_s)", _last_lines(worker.log))
        elif worker.is_overdue and ended.ending in (Ending.DIED, Ending.RAISED):
            limit = f"it took longer than task.timeout_s = {worker.call.timeout_s:g} s, and was ended"
            ended = Ended(Ending.RAISED, limit, _last_lines(worker.log))
        return CallEnded(worker.call, ended.ending, ended.reason, ended.detail, device)

    def close(self) -> None:
        """Terminate the workers that still run, and kill those that have not ended some seconds later."""
        hosts = [*self._idle.values(), *(worker.host for worker in self._running)]
        for host in hosts:
            host.process.terminate()
        for host in hosts:
            host.end()
        self._running.clear()
        self._idle.clear()


def _last_sign(worker: _Worker) -> float:
    """Return when a worker, or the program that it runs, last wrote output."""
    times = [worker.last_sign]
    for path in (worker.log, worker.call.folder / OWN_OUTPUT, worker.call.folder / OWN_METRICS):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _enforce_limit(worker: _Worker) -> None:
    """Terminate a worker whose time is up, and kill it if it has not ended some seconds later."""
    if time.monotonic() < worker.deadline:
        return
    if worker.is_overdue:
        worker.process.kill()
        worker.deadline = math.inf
    else:
        worker.process.terminate()
        worker.is_overdue, worker.deadline = True, time.monotonic() + GRACE_S


def _start_server() -> None:
    """Start the process that workers are forked from; it ignores Ctrl-C, which the conductor handles."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # first, since its start unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with environment(ENVIRONMENT):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ended_by(code: int | None, log: Path) -> Ended:
    """Return the end of a call whose process ended with an exit code and without a report."""
    return Ended() if code == 0 else Ended(Ending.DIED, _death_reason(code), _last_lines(log))


def _death_reason(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = _HINTS.get(-code, "")
        return f"the worker process was killed by {name}{hint}"
    return f"the worker process ended with exit code {code}"


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_OUTPUT_LINES:])
    except OSError:
        return ""
