"""Load of the machine while a training runs, named as MLflow names its system metrics."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

INTERVAL_S = 10.0
"""Epochs that end sooner after a sample carry none."""


class SystemMetrics:
    """Samples processors, memory and GPUs; a figure that this machine does not have is left out.

    Args:
        proc: The folder of Linux' figures; other systems have none.
        interval_s: The least time between two samples, in seconds.
    """

    def __init__(self, proc: Path = Path("/proc"), interval_s: float = INTERVAL_S) -> None:
        self._proc = proc
        self._interval_s = interval_s
        self._sampled: float | None = None
        self._ticks = self._read_ticks()

    def sample(self) -> Mapping[str, float]:
        """Return the figures since the last sample, megabytes (10⁶ bytes) and percent; empty if that was just now."""
        now = time.monotonic()
        if self._sampled is not None and now - self._sampled < self._interval_s:
            return {}
        self._sampled = now
        return {**self._processors(), **self._memory(), **_gpus()}

    def _processors(self) -> dict[str, float]:
        before, self._ticks = self._ticks, self._read_ticks()
        busy, total = (now - then for now, then in zip(self._ticks, before, strict=True))
        return {"cpu_utilization_percentage": 100.0 * busy / total} if total > 0 else {}

    def _read_ticks(self) -> tuple[int, int]:
        """Return the busy and all ticks of all processors since the machine started: proc_stat(5)."""
        with suppress(OSError, ValueError):
            user, nice, system, idle, *others = map(
                int, (self._proc / "stat").read_text().split("\n")[0].split()[1:9]
            )
            waiting = others[0] if others else 0
            total = user + nice + system + idle + sum(others)
            return total - idle - waiting, total
        return 0, 0

    def _memory(self) -> dict[str, float]:
        with suppress(OSError, ValueError, LookupError):
            lines = (self._proc / "meminfo").read_text().splitlines()
            kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
            used = kib["MemTotal"] - kib["MemAvailable"]
            return {
                "system_memory_usage_megabytes": used * 1024 / 1e6,
                "system_memory_usage_percentage": 100.0 * used / kib["MemTotal"],
            }
        return {}


def _gpus() -> dict[str, float]:
    """Return the memory of the GPUs that this process uses, and their load where NVIDIA's library is installed."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    figures: dict[str, float] = {}
    for number in range(torch.cuda.device_count()):
        if not torch.cuda.memory_reserved(number):
            continue
        with suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info(number)
            figures[f"gpu_{number}_memory_usage_megabytes"] = (total - free) / 1e6
            figures[f"gpu_{number}_memory_usage_percentage"] = 100.0 * (total - free) / total
        with suppress(RuntimeError, ModuleNotFoundError, ImportError):
            figures[f"gpu_{number}_utilization_percentage"] = float(torch.cuda.utilization(number))
    return figures
