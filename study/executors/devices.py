"""CUDA devices and processor cores of this machine, and their shares for each worker."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

from study.errors import InputError


def cuda_devices() -> tuple[int, ...]:
    """Return the indexes of the CUDA devices that torch can use.

    Torch is imported only if an NVIDIA driver is installed.
    """
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ()
    import torch

    return tuple(range(torch.cuda.device_count())) if torch.cuda.is_available() else ()


def choose_device(requested: str, devices: tuple[int, ...]) -> str:
    """Return ``cpu`` or ``cuda``.

    Raises:
        InputError: CUDA is requested, and there is no CUDA device.
    """
    if requested == "cuda" and not devices:
        raise InputError(
            "study.toml: device: 'cuda' is requested, but torch finds no CUDA device. "
            "Allowed: 'auto', 'cpu', or a machine with an NVIDIA driver and a CUDA build of torch."
        )
    if requested == "auto":
        return "cuda" if devices else "cpu"
    return requested


def gpu_slots(devices: Sequence[int], gpus: int = 1, runs_per_gpu: int = 1) -> int:
    """Return how many runs fit on the GPUs at a time; only runs of a single GPU share one.

    Raises:
        InputError: A run needs more GPUs than there are.
    """
    if gpus <= 1:
        return len(devices) * runs_per_gpu
    if gpus > len(devices):
        raise InputError(
            f"task.gpus: each run needs {gpus} GPUs, but torch finds {len(devices)}. "
            f"Allowed: at most {len(devices)}."
        )
    return len(devices) // gpus


def assigned(slot: int, gpus: int, devices: Sequence[int]) -> tuple[int, ...]:
    """Return the CUDA devices of a slot of runs that need `gpus` each; none if runs use the CPU.

    Raises:
        InputError: A run needs more GPUs than there are.
    """
    if not devices or gpus < 1:
        return ()
    gpu_slots(devices, gpus)
    return tuple(devices[(slot * gpus + index) % len(devices)] for index in range(gpus))


def visible(chosen: Sequence[int]) -> str:
    """Return CUDA_VISIBLE_DEVICES for the chosen devices, which are indexes into the visible ones."""
    visible_names = [
        name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()
    ]
    return ",".join(visible_names[index] if index < len(visible_names) else str(index) for index in chosen)


def cpu_cores() -> tuple[int, ...]:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_share(slot: int, slots: int) -> tuple[int, ...]:
    """Return the cores of one of several slots; all cores if there are fewer than slots."""
    cores = cpu_cores()
    return cores[slot::slots] if slots <= len(cores) else cores
