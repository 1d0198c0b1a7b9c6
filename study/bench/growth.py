"""Benchmark of growth: the conductor with up to 1000 simulated workers, 10 000 runs and 1000 studies.

Nothing is trained. The simulated executor has a clock of its own, which jumps to the next end of a run and advances by
the time that the conductor takes.
"""

from __future__ import annotations

import gc
import heapq
import importlib
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

from study.bench.result import Measured, on_this_machine
from study.bench.scale import large_study
from study.bench.workers import MEMORY
from study.engine import conductor, jobs
from study.executors.base import Call, CallEnded, Ending, Event
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger

RUN_S = 60.0
"""The mean time of a simulated training; tests take a tenth."""
WORKERS = (1, 8, 64, 256, 1000)
RUNS = (10, 100, 1000, 10_000)
STUDIES = (10, 100, 1000)
LOST_EACH_S = 600.0
"""The mean time after which a simulated worker is lost, with the run that it has."""
SLOTS = 64
TRIALS = 4
RUNS_OF_EACH = 4000


@dataclass
class Simulated:
    """An executor whose calls take simulated time; the work of a call is done at its end, and is not counted.

    Args:
        capacity: Simulated workers.
        lost_each_s: The mean time until a worker is lost; 0 for never.
    """

    capacity: int
    lost_each_s: float = 0.0
    now_s: float = 0.0
    busy_s: float = 0.0
    """The time of all calls together."""
    ended: int = 0
    lost: int = 0
    job_cpu_s: float = 0.0
    """What the work of the calls took of this process, which is not the conductor's."""
    last_start_s: float = 0.0
    busy_at_last_start_s: float = 0.0
    _queue: list[tuple[float, int, Call, float]] = field(default_factory=list)
    _draw: random.Random = field(default_factory=lambda: random.Random(0))
    _submitted: int = 0
    _left_at: float = field(default_factory=time.perf_counter)

    def _advance(self) -> None:
        """Add the real time that the conductor took since the last call of a member."""
        self.now_s += time.perf_counter() - self._left_at

    def submit(self, call: Call) -> None:
        """Note when the call ends."""
        self._advance()
        mean = RUN_S if call.target.endswith(":train") else RUN_S / 10
        seconds = mean * self._draw.uniform(0.7, 1.3)
        self._submitted += 1
        heapq.heappush(self._queue, (self.now_s + seconds, self._submitted, call, seconds))
        self.last_start_s = self.now_s
        self.busy_at_last_start_s = self.busy_s + sum(
            self.now_s - (end - length) for end, _, _, length in self._queue
        )
        self._left_at = time.perf_counter()

    def wait(self, timeout_s: float) -> list[Event]:
        """Jump to the next end, and return all calls that have ended by then."""
        self._advance()
        events: list[Event] = []
        if self._queue:
            self.now_s = max(self.now_s, self._queue[0][0])
        while self._queue and self._queue[0][0] <= self.now_s:
            _, _, call, seconds = heapq.heappop(self._queue)
            self.busy_s += seconds
            events.append(self._end(call, seconds))
        self._left_at = time.perf_counter()
        return events

    def _end(self, call: Call, seconds: float) -> CallEnded:
        if self.lost_each_s and self._draw.random() < seconds / self.lost_each_s:
            self.lost += 1
            return CallEnded(call, Ending.LOST, "the simulated machine is gone", host="simulated")
        cpu = time.process_time()
        module, _, function = call.target.partition(":")
        getattr(importlib.import_module(module), function)(
            call.run, call.folder, lambda epoch: None, *call.arguments
        )
        self.job_cpu_s += time.process_time() - cpu
        self.ended += 1
        return CallEnded(call)

    def close(self) -> None:
        """Forget what has not ended."""
        self._queue.clear()


@dataclass(frozen=True)
class Grown:
    """What carrying one study out took."""

    runs: int
    """Trainings and tests."""
    cpu_ms: float
    """The conductor's processor time for one of them."""
    kilobytes: float
    """What the memory of the process grew by for one of them."""
    busy: float
    """The share of the workers' time that calls took, up to the last start of a call."""
    lost: int
    failed: int


def carried_out(folder: Path, runs: int, workers: int, lost_each_s: float = 0.0, variants: int = 10) -> Grown:
    """Carry a study of about so many trainings out, with a sequential search in each repetition."""
    record, ledger = _study(folder, runs, variants)
    executor = Simulated(workers, lost_each_s)
    fake = {kind: f"study.testing.fake:{kind}" for kind in jobs.TARGETS}
    gc.collect()
    memory, cpu = _resident_bytes(), time.process_time()
    with ledger.hold(record.name):
        conductor.carry_out(ledger.save(record), ledger, executor, lambda event: None, fake)
    cpu = time.process_time() - cpu - executor.job_cpu_s
    grown = max(0, _resident_bytes() - memory)
    failed = sum(1 for _ in (ledger.root / "runs").glob("*/failure.json"))
    busy = executor.busy_at_last_start_s / (executor.capacity * executor.last_start_s)
    return Grown(
        executor.ended, 1e3 * cpu / executor.ended, grown / 1024 / executor.ended, busy, executor.lost, failed
    )


def growth(
    repeats: int = 1,
    runs: Sequence[int] = RUNS,
    workers: Sequence[int] = WORKERS,
    studies: Sequence[int] = STUDIES,
    runs_of_each: int = RUNS_OF_EACH,
) -> list[Measured]:
    """Measure what the conductor takes as runs, workers, lost machines and studies become more.

    Args:
        repeats: Not used: each size is carried out once.
        runs: Sizes of a study, with `SLOTS` workers; each is compared with the smallest but one.
        workers: Numbers of workers, for a study of `runs_of_each` runs.
        studies: Numbers of studies in one ledger.
        runs_of_each: Runs of the studies that vary the workers.
    """
    device, versions = on_this_machine()
    result = partial(Measured, device=device, versions=versions)
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="growth-", dir=memory) as root:
        folders = (Path(root, str(number)) for number in count())
        carried_out(next(folders), 10, 1)  # imports
        by_runs = [carried_out(next(folders), number, SLOTS) for number in runs]
        small = by_runs[min(1, len(by_runs) - 1)]
        for grown in by_runs:
            at = f"{grown.runs} trainings and tests, {SLOTS} workers"
            found += [
                result(
                    f"conductor's processor time, {at}",
                    "ms a run",
                    small.cpu_ms,
                    grown.cpu_ms,
                    f"{small.runs}",
                ),
                result(f"memory, {at}", "KB a run", small.kilobytes, grown.kilobytes, f"{small.runs}"),
            ]
        for number in workers:
            for lost_each_s in (0.0, LOST_EACH_S):
                grown = carried_out(next(folders), runs_of_each, number, lost_each_s)
                lost = f", {grown.lost} lost, {grown.failed} failed" if lost_each_s else ""
                name = f"{number} workers, {runs_of_each} trainings{lost}"
                found.append(result(f"busy workers, {name}", "%", 100.0, 100 * grown.busy, "all", False))
                found.append(
                    result(
                        f"conductor's processor time, {name}",
                        "ms a run",
                        small.cpu_ms,
                        grown.cpu_ms,
                        f"{SLOTS}",
                    )
                )
        starts = list(_starts(next(folders), studies))
        for number, start_ms in zip(studies, starts, strict=True):
            name = f"start and end of a study that is done, {number} studies in the ledger"
            found.append(result(name, "ms", starts[0], start_ms, f"{studies[0]} studies"))
    return found


def _starts(folder: Path, studies: Sequence[int]) -> Iterator[float]:
    """Yield the conductor's milliseconds for a study whose runs are done, with so many studies in the ledger."""
    record, ledger = _study(folder, 10, 2)
    fake = {kind: f"study.testing.fake:{kind}" for kind in jobs.TARGETS}
    started = 0
    for number in studies:
        while started < number:
            started += 1
            own = replace(record, name=f"{record.name}@{started}", file=f"s{started}.toml")
            began = time.process_time()
            conductor.carry_out(ledger.save(own), ledger, Simulated(1), lambda event: None, fake)
            seconds = time.process_time() - began
        yield 1e3 * seconds


def _study(folder: Path, runs: int, variants: int) -> tuple[StudyRecord, Ledger]:
    variants = max(2, min(variants, runs // TRIALS))
    repetitions = max(1, runs // variants // TRIALS)
    return large_study(folder, variants, repetitions, TRIALS, epochs=2, generation=1)


def _resident_bytes() -> int:
    """Return the memory of this process that is in use; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
