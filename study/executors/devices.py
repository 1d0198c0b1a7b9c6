"""What this machine computes on."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

from study.errors import InputError
from study.machine import cpu_cores


def cuda_devices() -> tuple[int, ...]:
    """Return the indexes of the CUDA devices that torch can use.

    Where no NVIDIA driver is installed the answer is known without importing torch.
    """
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ()
    import torch

    return tuple(range(torch.cuda.device_count())) if torch.cuda.is_available() else ()


def choose_device(asked: str, devices: tuple[int, ...]) -> str:
    """Return ``cpu`` or ``cuda``; InputError where CUDA was asked for and there is none."""
    if asked == "cuda" and not devices:
        raise InputError(
            "study.toml: device: 'cuda' was asked for, but torch finds no CUDA device here. "
            "Allowed: 'auto', 'cpu', or a machine with an NVIDIA driver and a CUDA build of torch."
        )
    if asked == "auto":
        return "cuda" if devices else "cpu"
    return asked


def gpu_slots(devices: Sequence[int], gpus: int = 1, runs_per_gpu: int = 1) -> int:
    """Return how many runs the GPUs hold at a time; only runs of a single GPU share one.

    Raises:
        InputError: A run asks for more GPUs than there are.
    """
    if gpus <= 1:
        return len(devices) * runs_per_gpu
    if gpus > len(devices):
        raise InputError(
            f"task.gpus: each run needs {gpus} GPUs, but torch finds {len(devices)} here. "
            f"Allowed: at most {len(devices)}."
        )
    return len(devices) // gpus


def assigned(slot: int, gpus: int, devices: Sequence[int]) -> tuple[int, ...]:
    """Return the CUDA devices of a slot of runs that need `gpus` each; none where runs use the CPU.

    Raises:
        InputError: A run asks for more GPUs than there are.
    """
    if not devices or gpus < 1:
        return ()
    gpu_slots(devices, gpus)
    return tuple(devices[(slot * gpus + place) % len(devices)] for place in range(gpus))


def visible(chosen: Sequence[int]) -> str:
    """Return CUDA_VISIBLE_DEVICES for the chosen devices, which are counted among those visible here."""
    here = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return ",".join(here[index] if index < len(here) else str(index) for index in chosen)


def core_share(slot: int, slots: int) -> tuple[int, ...]:
    """Return the cores that one of several slots has for itself; all of them where they do not go round."""
    cores = cpu_cores()
    return cores[slot::slots] if slots <= len(cores) else cores
