"""Worker processes on this machine: one process a task, forked from a server that has torch imported."""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from study.executors.devices import core_share
from study.executors.base import Ended, Ending, EpochEnded, Event, Task, ending_of
from study.records import Epoch

LAST_OUTPUT_LINES = 30
GRACE_S = 5.0


@dataclass
class _Worker:
    task: Task
    process: BaseProcess
    pipe: Connection
    log: Path
    slot: int
    device: int | None
    ending: Ending | None = None
    reason: str = ""
    detail: str = ""


class LocalWorkers:
    """Up to `capacity` worker processes at a time.

    Each has its share of the processor cores for itself where there are enough, and one thread a run however
    many there are.

    Args:
        capacity: Processes at a time.
        devices: CUDA device indexes that the slots take in turn, so that several may share one; empty where runs
            use the CPU.
        preload: Modules that the fork server imports once for all workers.
    """

    def __init__(self, capacity: int, devices: Sequence[int] = (), preload: Sequence[str] = ()) -> None:
        self.capacity = capacity
        self._devices = tuple(devices)
        self._running: list[_Worker] = []
        # fork is not safe once torch has threads, and spawn imports torch anew for every run
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context: SpawnContext | ForkServerContext = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["__main__", *preload])
            _start_server()
        else:
            self._context = multiprocessing.get_context("spawn")

    def submit(self, task: Task) -> None:
        """Start a process for the task; its output goes to ``log-<attempt>.txt`` in the task's folder."""
        task.folder.mkdir(parents=True, exist_ok=True)
        log = task.folder / f"log-{len(list(task.folder.glob('log-*.txt'))) + 1}.txt"
        slot = min(set(range(self.capacity)) - {worker.slot for worker in self._running})
        device = self._devices[slot % len(self._devices)] if self._devices else None
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(task, log, device, core_share(slot, self.capacity), theirs), name=task.key
        )
        process.start()
        theirs.close()
        self._running.append(_Worker(task, process, ours, log, slot, device))

    def wait(self, timeout_s: float) -> list[Event]:
        """Return the epochs and endings that are in, waiting for the first no longer than `timeout_s`."""
        wait([worker.pipe for worker in self._running], timeout_s)
        events: list[Event] = []
        for worker in list(self._running):
            try:
                while worker.pipe.poll():
                    message = worker.pipe.recv()
                    if isinstance(message, Epoch):
                        events.append(EpochEnded(worker.task, message))
                    else:
                        worker.ending, worker.reason, worker.detail = message
            except (EOFError, ConnectionResetError):
                events.append(self._end(worker))
        return events

    def _end(self, worker: _Worker) -> Ended:
        """Collect a worker whose end of the pipe is closed: it returned, raised or died."""
        worker.process.join()
        worker.pipe.close()
        self._running.remove(worker)
        code = worker.process.exitcode
        if worker.ending is None and code != 0:
            worker.ending, worker.reason, worker.detail = "died", _died(code), _last_lines(worker.log)
        device = f"cuda:{worker.device}" if worker.device is not None else ""
        return Ended(worker.task, worker.ending or "returned", worker.reason, worker.detail, device)

    def close(self) -> None:
        """Stop the workers that still run, kindly first."""
        for worker in self._running:
            worker.process.terminate()
        for worker in self._running:
            worker.process.join(GRACE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._running.clear()


def _start_server() -> None:
    """Start the process that workers are forked from, deaf to Ctrl-C, which is the conductor's to answer."""
    from multiprocessing import forkserver, resource_tracker

    resource_tracker.ensure_running()  # first, for its start unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(task: Task, log: Path, device: int | None, cores: Sequence[int], pipe: Connection) -> None:
    """Do one task in a fresh process, which ends with the conductor's, however that does."""
    threading.Thread(target=_end_with_conductor, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the conductor's to answer
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(device)
    with log.open("w", buffering=1, encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        logging.basicConfig(stream=file, format="%(asctime)s %(levelname)s: %(message)s", force=True)
        logging.getLogger("study").setLevel(logging.INFO)
        module, _, function = task.target.partition(":")
        try:
            job = getattr(importlib.import_module(module), function)
            job(task.run, task.folder, pipe.send, *task.arguments)
        except BrokenPipeError:
            os._exit(1)  # the conductor is gone
        except BaseException as error:
            detail = traceback.format_exc()
            print(detail, file=file)
            with contextlib.suppress(BrokenPipeError):
                pipe.send((ending_of(error), f"{type(error).__name__}: {error}", detail))
            file.flush()
            os._exit(1)


def _end_with_conductor() -> None:
    """Leave at once when the conductor has gone: nobody is told of epochs any more, and another may take over."""
    conductor = multiprocessing.parent_process()
    if conductor is not None:
        conductor.join()
        os._exit(1)


def _died(code: int | None) -> str:
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
