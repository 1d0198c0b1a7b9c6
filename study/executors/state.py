"""The process-wide state of a worker: put back after each call, so that the next one finds a process like a new one."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import sys
import sysconfig
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import study

MOST_GROWTH_BYTES = 1 << 29
"""A worker whose own memory has grown by more since its start is replaced."""
_LIBRARIES = tuple(
    f"{Path(path).resolve()}{os.sep}"
    for path in {*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")), *study.__path__}
)
"""Folders of the modules that every call may share: those of Python, of installed packages and of the harness."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TORCH_FLAGS = (
    ("backends.cudnn", "enabled"),
    ("backends.cudnn", "benchmark"),
    ("backends.cudnn", "deterministic"),
    ("backends.cudnn", "allow_tf32"),
    ("backends.cuda.matmul", "allow_tf32"),
    ("backends.cuda.matmul", "allow_fp16_reduced_precision_reduction"),
    ("backends.cuda.matmul", "allow_bf16_reduced_precision_reduction"),
    ("backends.mkldnn", "enabled"),
    ("utils.deterministic", "fill_uninitialized_memory"),
)
"""Settings of torch that are attributes, by module."""
_TORCH_SETTERS = (
    ("get_default_dtype", "set_default_dtype"),
    ("get_num_threads", "set_num_threads"),
    ("get_float32_matmul_precision", "set_float32_matmul_precision"),
    ("is_grad_enabled", "_C._set_grad_enabled"),
    ("is_anomaly_enabled", "set_anomaly_enabled"),
    ("get_rng_state", "set_rng_state"),
    ("backends.mha.get_fastpath_enabled", "backends.mha.set_fastpath_enabled"),
    ("backends.cuda.flash_sdp_enabled", "backends.cuda.enable_flash_sdp"),
    ("backends.cuda.mem_efficient_sdp_enabled", "backends.cuda.enable_mem_efficient_sdp"),
    ("backends.cuda.math_sdp_enabled", "backends.cuda.enable_math_sdp"),
    ("backends.cuda.cudnn_sdp_enabled", "backends.cuda.enable_cudnn_sdp"),
)
"""Settings of torch with a function that reads and one that sets each."""
_AUTOCAST_DEVICES = ("cpu", "cuda")


class Leftover(StrEnum):
    """What a call leaves in its process and nothing can put back."""

    MODULES = "modules"
    """Modules of the user, whose variables outlive the call and whose text may change before the next."""
    THREADS = "threads"
    PROCESSES = "processes"
    GPU_MEMORY = "GPU memory"
    MEMORY = "memory"
    """More than `MOST_GROWTH_BYTES`."""


@dataclass(frozen=True)
class ProcessState:
    """What calls of one process share and may change, as it was when it was recorded."""

    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: str = field(default_factory=os.getcwd)
    path: list[str] = field(default_factory=lambda: list(sys.path))
    arguments: list[str] = field(default_factory=lambda: list(sys.argv))
    filters: list[Any] = field(default_factory=lambda: list(warnings.filters))
    show_warning: Callable[..., None] = field(default_factory=lambda: warnings.showwarning)
    handlers: list[Any] = field(default_factory=lambda: [signal.getsignal(number) for number in _SIGNALS])
    threads: set[int | None] = field(
        default_factory=lambda: {thread.ident for thread in threading.enumerate()}
    )
    modules: dict[str, ModuleType] = field(default_factory=lambda: dict(sys.modules))
    python_random: Any = field(default_factory=random.getstate)
    library_states: list[Callable[[], None]] = field(default_factory=lambda: _library_states())
    """Functions that put the states of NumPy and torch back."""
    memory_bytes: int = field(default_factory=lambda: _memory_bytes())

    def restore(self) -> list[Leftover]:
        """Put back all that a call may have changed; return what cannot be, so that the process takes no other call."""
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.path[:], sys.argv[:] = self.path, self.arguments
        warnings.filters[:] = self.filters  # type: ignore[index]
        warnings.showwarning = self.show_warning
        for number, handler in zip(_SIGNALS, self.handlers, strict=True):
            signal.signal(number, handler)
        random.setstate(self.python_random)
        for put_back in self.library_states:
            put_back()
        gc.collect()
        found = {
            Leftover.MODULES: self._has_other_modules(),
            Leftover.THREADS: any(thread.ident not in self.threads for thread in threading.enumerate()),
            Leftover.PROCESSES: bool(multiprocessing.active_children()) or bool(_children() - _servers()),
            Leftover.GPU_MEMORY: _holds_gpu_memory(),
            Leftover.MEMORY: _memory_bytes() - self.memory_bytes > MOST_GROWTH_BYTES,
        }
        return [leftover for leftover, is_left in found.items() if is_left]

    def _has_other_modules(self) -> bool:
        """Return whether a call imported modules of the user, or torch, whose state was not recorded."""
        found = {
            name: module
            for name, module in sys.modules.copy().items()
            if module is not self.modules.get(name)
        }
        return "torch" in found or any(map(_is_of_user, found.values()))


def _holds_gpu_memory() -> bool:
    """Free the cached memory of the GPU, and return whether tensors are left."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return False
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return bool(torch.cuda.memory_allocated())


def _is_of_user(module: ModuleType | None) -> bool:
    """Return whether a module's file lies outside of the folders of libraries."""
    file = getattr(module, "__file__", None)
    return bool(file) and not str(Path(str(file)).resolve()).startswith(_LIBRARIES)


def _library_states() -> list[Callable[[], None]]:
    found: list[Callable[[], None]] = []
    if "numpy" in sys.modules:
        import numpy as np

        drawn, errors = np.random.get_state(), np.geterr()  # noqa: NPY002
        found += [lambda: np.random.set_state(drawn), lambda: _ignore(np.seterr(**errors))]  # noqa: NPY002
    return [*found, *_torch_states(sys.modules["torch"])] if "torch" in sys.modules else found


def _torch_states(torch: Any) -> list[Callable[[], None]]:
    """Return functions that put back each setting of torch which belongs to the process or its main thread."""
    found: list[Callable[[], None]] = []

    def keep(setter: Callable[..., object], *values: Any) -> None:
        found.append(lambda: _ignore(setter(*values)))

    for reader, setter in _TORCH_SETTERS:
        keep(_at(torch, setter), _at(torch, reader)())
    for module, name in _TORCH_FLAGS:
        keep(setattr, _at(torch, module), name, getattr(_at(torch, module), name))
    for device in _AUTOCAST_DEVICES:
        keep(torch.set_autocast_enabled, device, torch.is_autocast_enabled(device))
        keep(torch.set_autocast_dtype, device, torch.get_autocast_dtype(device))
    keep(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled())
    keep(torch.clear_autocast_cache)
    keep(torch.set_default_device, None)
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    found.append(lambda: torch.use_deterministic_algorithms(is_deterministic, warn_only=only_warns))
    found.append(_forget_compiled)
    return found


def _forget_compiled() -> None:
    """Drop compiled functions: their number is limited, and beyond the limit torch runs them uncompiled."""
    if dynamo := sys.modules.get("torch._dynamo"):
        dynamo.reset()


def _at(module: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        module = getattr(module, name)
    return module


def _ignore(returned: object) -> None:
    """Take what a setter returns."""


def _children() -> set[int]:
    """Return the child processes of this process; none where the system does not list them."""
    try:
        lists = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:
        return set()
    return {int(process) for children in lists for process in children}


def _servers() -> set[int]:
    """Return the processes by which `multiprocessing` starts others and frees resources; they may stay."""
    from multiprocessing import forkserver, resource_tracker

    servers = (
        getattr(forkserver._forkserver, "_forkserver_pid", None),
        getattr(resource_tracker._resource_tracker, "_pid", None),
    )
    return {process for process in servers if process is not None}


def _memory_bytes() -> int:
    """Return the memory that belongs to this process alone; 0 where the system does not tell it."""
    try:
        _, resident, shared = Path("/proc/self/statm").read_text().split()[:3]
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
