"""The machine that a run uses: its cores, the versions of libraries and the hardware."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Literal

from study.records import Machine

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "optuna",
    "mlflow",
    "fvcore",
    "safetensors",
)


def machine(device: Literal["cpu", "cuda"] = "cpu") -> Machine:
    """Return the versions of `PACKAGES` and the model of the processor, or of the GPU for ``cuda``."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    if device == "cpu":
        return Machine(versions, _processor(), platform.platform())
    import torch

    versions["cuda"] = str(torch.version.cuda)
    versions["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return Machine(versions, torch.cuda.get_device_name(), platform.platform())


def cpu_cores() -> tuple[int, ...]:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _processor() -> str:
    """Return the processor's model: from /proc/cpuinfo on Linux, from `platform` elsewhere."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
