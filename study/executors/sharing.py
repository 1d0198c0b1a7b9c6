"""How many runs share this machine, and a GPU: from the memory and the utilization that the runs so far show."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from study.executors.base import Work
from study.executors.devices import VISIBLE, cuda_devices, gpu_slots, visible, within
from study.machine import cpu_cores

SAMPLES = 5
"""Measurements between two changes; the memory is their largest, the utilization their mean."""
INTERVAL_S = 1.0
"""Between two measurements: longer than the driver averages the utilization over."""
BUSY = 0.85
"""A GPU that computes for a larger share of the time takes no further run."""
SPARE = 1.5
"""A further run starts where so many times the memory of the largest run is free: variants differ."""
_QUERY = "memory.used,memory.total,utilization.gpu"
_PATIENCE_S = 10.0
_MIB = 1 << 20


@dataclass(frozen=True)
class GpuUse:
    """What one GPU is used for at a moment, by all of its processes."""

    used_bytes: int
    total_bytes: int
    utilization: float
    """The share of the last moments, 0 to 1, in which it computed; 1 where the driver does not report it."""


Read = Callable[[Sequence[int]], Sequence[GpuUse]]
"""Returns the use of each of the CUDA devices with these indexes; empty where it cannot be measured."""


def nvidia_smi(devices: Sequence[int]) -> Sequence[GpuUse]:
    """Return the use of each device as the driver reports it; empty where it does not."""
    command = [
        "nvidia-smi",
        f"--id={visible(devices)}",
        f"--query-gpu={_QUERY}",
        "--format=csv,noheader,nounits",
    ]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
        return [_parsed(line) for line in ended.stdout.splitlines() if line.strip()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def _parsed(line: str) -> GpuUse:
    used, total, utilization = (text.strip() for text in line.split(","))
    busy = float(utilization) / 100 if utilization.isdecimal() else 1.0
    return GpuUse(int(used) * _MIB, int(total) * _MIB, busy)


@dataclass
class MeasuredShare:
    """Starts with one run on each GPU, and adds up to as many again while every GPU has memory and time left.

    Args:
        devices: Indexes of the CUDA devices.
        most: The largest number of runs on one GPU.
        read: Measures the devices.
        now: The time in seconds.
    """

    devices: Sequence[int]
    most: int
    read: Read = nvidia_smi
    now: Callable[[], float] = time.monotonic
    runs_per_gpu: int = 1
    """How many runs share a GPU at present."""
    _samples: list[Sequence[GpuUse]] = field(default_factory=list)
    _before: Sequence[GpuUse] = ()
    """The use before the first run: what other processes have."""
    _last: float = 0.0

    def __post_init__(self) -> None:
        """Measure what other processes use."""
        self._before = self.read(self.devices)
        if len(self._before) != len(self.devices):
            self.most = 1

    def update(self) -> None:
        """Measure once, at most once in `INTERVAL_S`; called while every place is taken by a run that has begun."""
        if self.runs_per_gpu >= self.most or self.now() - self._last < INTERVAL_S:
            return
        self._last = self.now()
        self._samples.append(self.read(self.devices))
        if len(self._samples) < SAMPLES:
            return
        samples, self._samples = self._samples, []
        if any(len(sample) != len(self.devices) for sample in samples):
            return
        by_device = zip(self._before, zip(*samples, strict=True), strict=True)
        more = min(_room(before, uses, self.runs_per_gpu) for before, uses in by_device)
        self.runs_per_gpu = min(self.most, self.runs_per_gpu + more)


def _room(before: GpuUse, uses: Sequence[GpuUse], runs: int) -> int:
    """Return for how many more runs a GPU has memory and time, at most for as many as there are.

    Args:
        before: Its use before the first run.
        uses: Its use with `runs` runs, several times.
        runs: How many runs share it.
    """
    used = max(use.used_bytes for use in uses)
    of_one_run = max(0, used - before.used_bytes) / runs
    busy = sum(use.utilization for use in uses) / len(uses)
    free = before.total_bytes - used
    return sum(
        busy * (runs + more - 1) / runs < BUSY and free > SPARE * more * of_one_run
        for more in range(1, runs + 1)
    )


def slots(work: Work) -> tuple[int, tuple[int, ...], MeasuredShare | None]:
    """Return how many calls run at a time on this machine, and the GPUs that they share (measured or not)."""
    devices = within(cuda_devices(), work.environment.get(VISIBLE)) if work.device == "cuda" else ()
    automatic, share = max(1, len(cpu_cores()) // max(1, work.threads)), None
    if devices and work.workers is None:
        runs_per_gpu = 1 if work.runs_per_gpu == "auto" else work.runs_per_gpu
        if work.runs_per_gpu == "auto" and work.gpus == 1:
            runs_per_gpu = max(1, automatic // len(devices))
            share = MeasuredShare(devices, runs_per_gpu)
        automatic = gpu_slots(devices, work.gpus, runs_per_gpu)
    return work.workers or automatic, devices, share
