"""How many runs share a GPU: measured memory and utilization decide, on a machine that has none."""

from __future__ import annotations

import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.small_study import small_study

import study
from study.executors.base import Call, CallEnded
from study.executors.local import LocalWorkers
from study.executors.sharing import SAMPLES, GpuUse, MeasuredShare, nvidia_smi
from study.records import RunSpec

GIB = 1 << 30


@dataclass
class FakeGpus:
    """GPUs of 80 GiB on which each run takes memory and time; other processes have 10 GiB."""

    run_bytes: int
    busy: float
    runs: int = 0
    time_s: float = 0.0
    is_broken: bool = False

    def read(self, devices: Sequence[int]) -> Sequence[GpuUse]:
        use = GpuUse(10 * GIB + self.runs * self.run_bytes, 80 * GIB, min(1.0, self.runs * self.busy))
        return [] if self.is_broken else [use for _ in devices]

    def now(self) -> float:
        self.time_s += 1.0
        return self.time_s


def settled(gpus: FakeGpus, most: int = 16, devices: tuple[int, ...] = (0, 1)) -> int:
    """Return how many runs share a GPU once the number no longer changes."""
    share = MeasuredShare(devices, most, gpus.read, gpus.now)
    for _ in range(20 * SAMPLES):
        gpus.runs = share.runs_per_gpu
        share.update()
    return share.runs_per_gpu


@pytest.mark.parametrize(
    ("run_gib", "busy", "expected"),
    [
        (1, 0.2, 5),  # 4 runs keep it busy for 80 % of the time, 5 for all of it
        (20, 0.01, 2),  # beside 2 runs 80 - 10 - 40 = 30 GiB are left, and one more needs more than 1.5 * 20
        (60, 0.01, 1),
        (1, 0.9, 1),
        (0, 0.0, 16),
    ],
)
def test_runs_are_added_while_memory_and_time_are_left(run_gib: int, busy: float, expected: int) -> None:
    assert settled(FakeGpus(run_gib * GIB, busy)) == expected


def test_what_cannot_be_measured_leaves_one_run_a_gpu() -> None:
    assert settled(FakeGpus(GIB, 0.1, is_broken=True)) == 1


def test_the_fullest_gpu_decides() -> None:
    gpus = FakeGpus(GIB, 0.1)

    def read(devices: Sequence[int]) -> Sequence[GpuUse]:
        first, _ = gpus.read(devices)
        return [first, GpuUse(first.used_bytes, first.total_bytes, 1.0)]

    share = MeasuredShare((0, 1), 8, read, gpus.now)
    for _ in range(5 * SAMPLES):
        share.update()
    assert share.runs_per_gpu == 1


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1024, 81559, 37\n0, 81559, 0", [GpuUse(GIB, 81559 << 20, 0.37), GpuUse(0, 81559 << 20, 0.0)]),
        ("1024, 81559, [N/A]", [GpuUse(GIB, 81559 << 20, 1.0)]),
        ("No devices were found", []),
    ],
)
def test_the_drivers_report_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, expected: list[GpuUse]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\nprintf "{printed}"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert nvidia_smi((0, 1)) == expected
    assert (tmp_path / "asked").read_text() == "--id=GPU-a,GPU-b\n"


def test_a_machine_without_the_driver_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert nvidia_smi((0,)) == []


def test_workers_are_added_while_the_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    gpus = FakeGpus(GIB, 0.3)
    workers = LocalWorkers(8, devices=(0,), share=MeasuredShare((0,), 8, gpus.read, gpus.now))
    run = RunSpec(config={}, seed=0, data_digest="", code_digest="")
    assert workers.capacity == 1
    started, ended, deadline = 0, [], time.monotonic() + 60
    while workers.capacity < 3 and time.monotonic() < deadline:
        while started - len(ended) < workers.capacity:
            started += 1
            folder = tmp_path / str(started)
            workers.submit(Call(str(started), "support.worker_jobs:reports", run, folder))
        gpus.runs = started - len(ended)
        ended += [event for event in workers.wait(0.05) if isinstance(event, CallEnded)]
    assert workers.capacity == 3
    workers.close()


@pytest.mark.parametrize(
    ("setting", "capacity", "is_measured"), [("1", 2, False), ('"auto"', 2, True), ("3", 6, False)]
)
def test_the_setting_decides_whether_the_share_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, capacity: int, is_measured: bool
) -> None:
    (tmp_path / "s.toml").write_text(small_study(epochs=1, seeds=1))
    (tmp_path / "study.toml").write_text(f'device = "cuda"\nruns_per_gpu = {setting}\n')
    monkeypatch.setattr("study.executors.devices.cuda_devices", lambda: (0, 1))
    monkeypatch.setattr("study.executors.sharing.cuda_devices", lambda: (0, 1))
    monkeypatch.setattr("study.executors.sharing.cpu_cores", lambda: tuple(range(8)))
    loaded = study.load(tmp_path / "s.toml", root=tmp_path)
    workers = loaded._workers(loaded._task())
    assert isinstance(workers, LocalWorkers)
    assert (workers.capacity, workers._share is not None) == (capacity, is_measured)
    assert workers._share is None or workers._share.most == 1, "there is no driver here"
