"""What a job does: its calls one after the other, in a worker process; near its time limit it checkpoints and requeues.

Slurm sends SIGUSR1 before the time limit, to which submitit answers with `Batch.checkpoint` and ``scontrol requeue``.
SIGTERM comes with `scancel` and with preemption: the job ends at once, and its latest checkpoints stay. A preempted
job is put back into the queue by Slurm; where Slurm cancels it, the conductor submits its runs again.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from study.executors.base import Call, CallEnded, CallPending, Ending, reason_of
from study.executors.devices import cuda_devices
from study.executors.local import LocalWorkers
from study.executors.slurm import exchange
from study.executors.slurm.exchange import End
from study.executors.written import written_files
from study.ledger.layout import CHECKPOINTS

SIGNAL_VARIABLE = "SUBMITIT_PREEMPT_SIGNAL"
"""Names the signal that submitit expects in a job."""
SIGNAL = "USR1"
"""The signal that the scheduler sends before the time limit."""
MARGIN_S = 30.0
"""For ending the workers and requeueing."""
SETTLED_S = 2.0
"""A checkpoint that has not changed for so long is whole."""
TERMINATION_S = 2.0
"""A signal to all processes of the job reaches this one within so long of its worker."""
NO_PROGRESS = 0.5
"""The share of the time limit after which a call without any checkpoint would not end in another job either."""


@dataclass
class Batch:
    """The calls of a job; submitit pickles it, calls it in the job, and once more after each requeue."""

    folder: Path
    """The folder of its submission."""
    calls: tuple[Call, ...]
    paths: tuple[str, ...]
    """The conductor's module path."""
    preload: tuple[str, ...]
    silent_s: float
    limit_s: float
    """The job's time limit."""
    signal_s: float
    _workers: LocalWorkers | None = field(default=None, init=False)
    _current: Call | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)
    """When the current call began, by the clock of the disk."""
    _began: float = field(default=0.0, init=False)
    """When the current call began, by this process's clock."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what another job needs: the processes of this one are left out."""
        return {**self.__dict__, "_workers": None, "_current": None}

    def __call__(self) -> None:
        """Run the calls that have not ended in an earlier attempt."""
        sys.path += [path for path in self.paths if path not in sys.path]
        signal.signal(signal.SIGTERM, self._terminate)
        try:
            for call in self.calls:
                if exchange.read_end(self.folder, call) is None:
                    self._run(call)
        finally:
            self._close()

    def checkpoint(self) -> Any:
        """Wait for a checkpoint as long as the time allows, end the worker, and return what is to be requeued.

        None if nothing is left to do: the last call has ended, or would never end within a job's time limit.
        """
        from submitit.helpers import DelayedSubmission

        with contextlib.suppress(Exception):  # the signal may have interrupted the reading of a message
            self._await_checkpoint(time.monotonic() + self.signal_s - MARGIN_S)
        self._close()
        call = self._current
        if call is not None and self._never_ends(call):
            limit = f"the job's time limit ({self.limit_s / 60:g} min, engine.slurm.time) came before"
            reason = f"{limit} the run wrote a checkpoint, so no further job would get it further"
            exchange.write_end(self.folder, call, End(Ending.RAISED, reason, host=socket.gethostname()))
        is_over = all(exchange.read_end(self.folder, each) is not None for each in self.calls)
        return None if is_over else DelayedSubmission(self)

    def _run(self, call: Call) -> None:
        """Run one call to its end, and write its events."""
        self._current, self._began = call, time.monotonic()
        self._started = exchange.write_start(self.folder, call)
        try:
            self._workers = self._workers or self._new_workers()
            self._workers.submit(call)
        except Exception as error:
            exchange.write_end(
                self.folder, call, End(Ending.RAISED, reason_of(error), host=socket.gethostname())
            )
        else:
            while self._current is not None:
                self._take_events(self._workers)
        self._current = None

    def _take_events(self, workers: LocalWorkers) -> None:
        """Write the next events; the current call becomes None when it ends."""
        for event in workers.wait(1.0):
            if isinstance(event, CallPending):
                continue
            if not isinstance(event, CallEnded):
                exchange.write_event(self.folder, event)
                continue
            if event.ending is Ending.DIED:
                time.sleep(TERMINATION_S)
            files = written_files(event.call.folder)
            end = End(event.ending, event.reason, event.detail, event.device, socket.gethostname(), files)
            exchange.write_end(self.folder, event.call, end)
            self._current = None

    def _new_workers(self) -> LocalWorkers:
        devices = cuda_devices() if any(call.run.device == "cuda" for call in self.calls) else ()
        if not devices and any(call.run.device == "cuda" for call in self.calls):
            raise RuntimeError(
                f"torch finds no GPU on {socket.gethostname()}; see engine.slurm.gres in study.toml"
            )
        number = signal.Signals[f"SIG{SIGNAL}"]
        handler = signal.signal(number, signal.SIG_IGN)  # what worker processes inherit
        try:
            return LocalWorkers(1, devices, self.preload, self.silent_s)
        finally:
            signal.signal(number, handler)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """End at once, without an end of the current call."""
        self._close()
        raise SystemExit(128 + number)

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _await_checkpoint(self, deadline: float) -> None:
        """Return when the current call has ended or written a checkpoint, or at the deadline."""
        seen, since = self._checkpoint_time(), time.monotonic()
        before = seen
        while self._current is not None and self._workers is not None and time.monotonic() < deadline:
            self._take_events(self._workers)
            now = self._checkpoint_time()
            if now != seen:
                seen, since = now, time.monotonic()
            elif seen != before and time.monotonic() - since >= SETTLED_S:
                return

    def _checkpoint_time(self) -> float:
        """Return when the current call last wrote a checkpoint, by the clock of the disk; 0 if it never did."""
        if self._current is None:
            return 0.0
        paths = [self._current.folder / name for name in CHECKPOINTS]
        times = [0.0]
        for path in [*paths, *(file for folder in paths if folder.is_dir() for file in folder.rglob("*"))]:
            with contextlib.suppress(OSError):
                times.append(path.stat().st_mtime)
        return max(times)

    def _never_ends(self, call: Call) -> bool:
        """Return whether the current call had most of a job's time and wrote no checkpoint."""
        had_most = time.monotonic() - self._began >= NO_PROGRESS * self.limit_s
        return had_most and self._checkpoint_time() < self._started
