"""Run each call in a worker process on this machine, forked from a server that has imported the libraries."""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from study.executors.base import (
    Call,
    CallEnded,
    CallEpoch,
    CallSilent,
    Ending,
    Event,
    detail_of,
    ending_of,
    reason_of,
)
from study.executors.devices import VISIBLE, assigned, core_share, visible
from study.ledger.layout import LOG, OWN_METRICS, OWN_OUTPUT
from study.records import Epoch

LAST_OUTPUT_LINES = 30
GRACE_S = 5.0
LONG_SILENCE_S = 600.0
"""After so long without a sign of life a worker is reported."""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Variables of every worker from its start, since Python and cuBLAS read them once."""


@dataclass
class _Worker:
    call: Call
    process: BaseProcess
    pipe: Connection
    log: Path
    slot: int
    devices: tuple[int, ...]
    deadline: float
    """By `time.monotonic`: the time at which it is terminated, then the time at which it is killed."""
    last_sign: float
    """By `time.time`: when it last reported or printed something."""
    is_overdue: bool = False
    is_silent: bool = False
    """Whether it was reported as silent since the last sign of life."""
    was_silent_s: float = 0.0
    """How long it was silent when it was ended for that."""
    ending: Ending | None = None
    reason: str = ""
    detail: str = ""


class LocalWorkers:
    """Runs up to `capacity` worker processes at a time.

    Each has its own share of the processor cores if there are enough; the number of threads does not depend on it.

    Args:
        capacity: Processes at a time.
        devices: Indexes into the visible CUDA devices, which the slots use in turn, so that several may share
            one; empty if runs use the CPU.
        preload: Modules that the fork server imports once for all workers.
        silent_s: Seconds without a report or output after which a worker is ended as if it had died; 0 for no limit.
    """

    def __init__(
        self, capacity: int, devices: Sequence[int] = (), preload: Sequence[str] = (), silent_s: float = 0.0
    ) -> None:
        self.capacity = capacity
        self._silent_s = silent_s or math.inf
        self._devices = tuple(devices)
        self._running: list[_Worker] = []
        # fork is unsafe once torch has threads, and spawn imports torch anew for every run
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context: SpawnContext | ForkServerContext = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["__main__", *preload])
            _start_server()
        else:
            self._context = multiprocessing.get_context("spawn")

    def submit(self, call: Call) -> None:
        """Start a process for the call; its output goes to ``log-<attempt>.txt`` in the call's folder."""
        call.folder.mkdir(parents=True, exist_ok=True)
        log = call.folder / LOG.format(len(list(call.folder.glob(LOG.format("*")))) + 1)
        slot = min(set(range(self.capacity)) - {worker.slot for worker in self._running})
        devices = assigned(slot, call.devices, self._devices)
        env = dict(call.env)
        if self._devices:
            env[VISIBLE] = visible(devices, env.get(VISIBLE))
        own_end, worker_end = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(call, log, env, core_share(slot, self.capacity), worker_end), name=call.key
        )
        process.start()
        worker_end.close()
        deadline = time.monotonic() + (math.inf if call.timeout_s is None else call.timeout_s)
        self._running.append(_Worker(call, process, own_end, log, slot, devices, deadline, time.time()))

    def wait(self, timeout_s: float) -> list[Event]:
        """Return new epochs and endings, waiting for the first no longer than `timeout_s`."""
        first = min((worker.deadline for worker in self._running), default=math.inf)
        pipes = [end for worker in self._running for end in (worker.pipe, worker.process.sentinel)]
        wait(pipes, max(0.0, min(timeout_s, first - time.monotonic())))
        events: list[Event] = []
        for worker in list(self._running):
            has_exited = not worker.process.is_alive()  # before the pipe is read to its end
            is_closed = False
            try:
                while worker.pipe.poll():
                    message = worker.pipe.recv()
                    worker.last_sign, worker.is_silent = time.time(), False
                    if isinstance(message, Epoch):
                        events.append(CallEpoch(worker.call, message))
                    else:
                        worker.ending, worker.reason, worker.detail = message
            except (EOFError, OSError):
                is_closed = True
            # a process that the worker started may hold the pipe open, so its end alone does not count
            if has_exited or is_closed or worker.ending is not None:
                events.append(self._end(worker))
            else:
                events += self._check_silence(worker)
                _enforce_limit(worker)
        return events

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
        """Remove a worker whose end of the pipe is closed: it returned, raised or died."""
        worker.process.join(GRACE_S)
        if worker.process.is_alive():  # it has reported its end, but does not exit
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
        self._running.remove(worker)
        code = worker.process.exitcode
        if worker.was_silent_s and worker.ending is None:
            silent = f"it reported and printed nothing for {worker.was_silent_s:.0f} s, and was ended"
            worker.ending, worker.reason = Ending.DIED, f"{silent} (study.toml: silent_s)"
            worker.detail = _last_lines(worker.log)
        elif worker.is_overdue and worker.ending in (None, Ending.RAISED) and code != 0:
            limit = f"it took longer than task.timeout_s = {worker.call.timeout_s:g} s, and was ended"
            worker.ending, worker.reason, worker.detail = Ending.RAISED, limit, _last_lines(worker.log)
        elif worker.ending is None and code != 0:
            worker.ending, worker.reason, worker.detail = (
                Ending.DIED,
                _death_reason(code),
                _last_lines(worker.log),
            )
        device = f"cuda:{','.join(map(str, worker.devices))}" if worker.devices else ""
        return CallEnded(worker.call, worker.ending or Ending.RETURNED, worker.reason, worker.detail, device)

    def close(self) -> None:
        """Terminate the workers that still run, and kill those that have not ended some seconds later."""
        for worker in self._running:
            worker.process.terminate()
        for worker in self._running:
            worker.process.join(GRACE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._running.clear()


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


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started in the context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_server() -> None:
    """Start the process that workers are forked from; it ignores Ctrl-C, which the conductor handles."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # first, since its start unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _environment(ENVIRONMENT):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(call: Call, log: Path, env: Mapping[str, str], cores: Sequence[int], pipe: Connection) -> None:
    """Run one call in a new process, which ends when the conductor's process does."""
    threading.Thread(target=_end_with_conductor, daemon=True).start()
    # the conductor handles Ctrl-C; programs that the worker starts inherit SIG_IGN, but no handler
    signal.signal(signal.SIGINT, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ.update(env)
    with log.open("w", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        logging.basicConfig(stream=file, format="%(asctime)s %(levelname)s: %(message)s", force=True)
        logging.getLogger("study").setLevel(logging.INFO)
        module, _, function = call.target.partition(":")
        try:
            job = getattr(importlib.import_module(module), function)
            job(call.run, call.folder, pipe.send, *call.arguments)
            pipe.send((Ending.RETURNED, "", ""))
            for child in multiprocessing.active_children():
                child.terminate()
            file.flush()
            os._exit(0)  # threads and processes that the job started must not keep the study waiting
        except BrokenPipeError:
            os._exit(1)  # the conductor has ended
        except BaseException as error:
            detail = detail_of(error)
            print(detail, file=file)
            with contextlib.suppress(BrokenPipeError):
                pipe.send((ending_of(error), reason_of(error), detail))
            file.flush()
            os._exit(1)


def _end_with_conductor() -> None:
    """End at once when the conductor does: another conductor may take the run over."""
    conductor = multiprocessing.parent_process()
    if conductor is not None:
        conductor.join()
        os._exit(1)


def _death_reason(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", which is what running out of memory looks like" if -code == signal.SIGKILL else ""
        return f"the worker process was killed by {name}{hint}"
    return f"the worker process ended with exit code {code}"


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_OUTPUT_LINES:])
    except OSError:
        return ""
