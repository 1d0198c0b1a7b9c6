"""What this machine computes on."""

from __future__ import annotations

import ctypes
import os
import sys

from study.errors import InputError


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


def cpu_cores() -> tuple[int, ...]:
    """Return the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_share(slot: int, slots: int) -> tuple[int, ...]:
    """Return the cores that one of several slots has for itself; all of them where they do not go round."""
    cores = cpu_cores()
    return cores[slot::slots] if slots <= len(cores) else cores
