"""CUDA devices and processor cores of this machine, and their shares for each worker."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

from study.errors import unavailable
from study.machine import cpu_cores


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
        raise unavailable(
            "study.toml: device",
            "'cuda' is requested, but torch finds no CUDA device. "
            "Allowed: 'auto', 'cpu', or a machine with an NVIDIA driver and a CUDA build of torch.",
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
        raise unavailable(
            "task.gpus",
            f"each run needs {gpus} GPUs, but torch finds {len(devices)}. Allowed: at most {len(devices)}.",
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


VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible(chosen: Sequence[int], given: str | None = None) -> str:
    """Return CUDA_VISIBLE_DEVICES for the chosen devices.

    Args:
        chosen: Indexes into the visible devices.
        given: The devices that are visible; None for this process's.
    """
    names = visible_names(given)
    return ",".join(map(str, chosen) if names is None else (names[index % len(names)] for index in chosen))


def visible_names(given: str | None = None) -> list[str] | None:
    """Return the names in CUDA_VISIBLE_DEVICES (indexes, UUIDs, MIG instances); None where it restricts nothing.

    As CUDA reads it, the list ends before the first empty or negative entry.

    Args:
        given: Its value; None for this process's.
    """
    value = os.environ.get(VISIBLE) if given is None else given
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    end = next((i for i, name in enumerate(names) if not name or name.startswith("-")), len(names))
    return names[:end] or None


def within(devices: tuple[int, ...], given: str | None) -> tuple[int, ...]:
    """Return the indexes of devices where a task restricts the visible ones by its own CUDA_VISIBLE_DEVICES."""
    if given is None or not devices:
        return devices
    return tuple(range(len(visible_names(given) or ())))


def core_share(slot: int, slots: int) -> tuple[int, ...]:
    """Return the cores of one of several slots; all cores if there are fewer than slots."""
    cores = cpu_cores()
    return cores[slot::slots] if slots <= len(cores) else cores
