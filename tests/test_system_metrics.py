"""The load of the machine is what the kernel counts, and costs a training nothing where it cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from study.system_metrics import SystemMetrics

MEMINFO = "MemTotal:       1000000 kB\nMemFree:          50000 kB\nMemAvailable:     250000 kB\n"


def write_stat(proc: Path, user: int, idle: int, iowait: int) -> None:
    (proc / "stat").write_text(f"cpu  {user} 0 0 {idle} {iowait} 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "meminfo").write_text(MEMINFO)
    write_stat(tmp_path, user=100, idle=800, iowait=100)
    return tmp_path


def test_processors_are_busy_by_the_share_of_ticks_since_the_last_sample(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    metrics = SystemMetrics(proc, interval_s=0.0)
    write_stat(proc, user=175, idle=815, iowait=110)
    assert metrics.sample() == {
        "cpu_utilization_percentage": 75.0,  # 75 of 100 ticks; waiting for a disk is not work
        "system_memory_usage_megabytes": 768.0,  # 750 000 KiB
        "system_memory_usage_percentage": 75.0,
    }
    write_stat(proc, user=175, idle=915, iowait=110)
    assert metrics.sample()["cpu_utilization_percentage"] == 0.0


def test_short_epochs_carry_no_sample(proc: Path) -> None:
    metrics = SystemMetrics(proc, interval_s=3600.0)
    assert metrics.sample()
    assert metrics.sample() == {}


@pytest.mark.parametrize("content", [None, "", "cpu a b c d\n", "MemTotal: x\n"])
def test_a_machine_without_these_figures_has_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    if content is not None:
        for name in ("stat", "meminfo"):
            (tmp_path / name).write_text(content)
    assert SystemMetrics(tmp_path).sample() == {}
