"""Jobs that misbehave in the ways that real ones do; imported by worker processes."""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from study.errors import InputError
from study.records import Epoch, RunSpec


def good(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    for number in (1, 2):
        on_epoch(Epoch(number, 0.5, 0.1, {"war": 0.5}, 0.0))
    print("printed by the job")
    logging.getLogger("study.tasks.clips.training.batches").info("logged by the job")
    (folder / "done").write_text(str(os.getpid()))


def raising(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    raise ValueError("a mistake in the job")


def killed(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    print("last words", flush=True)
    ctypes.string_at(0)


def gone(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    print("last words", flush=True)
    os._exit(3)


def disk_full(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    raise OSError(28, "No space left on device", "result.json")


def affinity(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    (folder / "cores").write_text(" ".join(map(str, sorted(os.sched_getaffinity(0)))))


def visible(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    (folder / "visible").write_text(os.environ["CUDA_VISIBLE_DEVICES"])


def endless(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    (folder / "pid").write_text(str(os.getpid()))
    while True:
        time.sleep(0.1)


def saying(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    raise InputError("the mistake, in words")


def environment(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    names = ("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "OF_THE_CALL")
    (folder / "environment").write_text(" ".join(os.environ.get(name, "") for name in names))


def stubborn(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    endless(spec, folder, on_epoch)


def with_thread(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()
    good(spec, folder, on_epoch)


def with_helper(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    _helper(folder)
    good(spec, folder, on_epoch)


def killed_with_helper(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    _helper(folder)
    killed(spec, folder, on_epoch)


def _helper(folder: Path) -> None:
    """Start a process that keeps the worker's pipe open, as a data server of a training does."""
    helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    helper.start()
    (folder / "helper").write_text(str(helper.pid))


def silent_once(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    if len(list(folder.glob("log-*.txt"))) == 1:
        time.sleep(600)
    good(spec, folder, on_epoch)


def chatty(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    for number in range(15):
        print(number, flush=True)
        time.sleep(0.2)
    good(spec, folder, on_epoch)


# Jobs of persistent workers; the module must be preloaded, else a worker that imported it takes no other call


def process(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    (folder / "pid").write_text(str(os.getpid()))


def dirty(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Change every setting of the process that a training may change."""
    import torch

    process(spec, folder, on_epoch)
    os.environ["DIRTY"] = "yes"
    os.environ.pop("PYTHONHASHSEED", None)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.argv[:] = ["dirty"]
    warnings.simplefilter("error")
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    np.seterr(all="raise")
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    torch.backends.cuda.enable_flash_sdp(False)
    torch.set_grad_enabled(False)
    torch.set_anomaly_enabled(True)
    torch.set_autocast_dtype("cpu", torch.float16)
    torch.set_autocast_enabled("cpu", True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("study").setLevel(logging.CRITICAL)


def state(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Write down what `dirty` changes, and what a small computation gives."""
    import torch

    process(spec, folder, on_epoch)
    network = torch.nn.Linear(8, 2)
    network(torch.randn(4, 8)).sum().backward()
    gradient = network.weight.grad
    seen = {
        "environment": sorted(os.environ.items()),
        "folder": str(Path.cwd()),
        "path": sys.path,
        "arguments": sys.argv,
        "filters": [str(entry) for entry in warnings.filters],
        "draws": [random.random(), float(np.random.rand()), float(torch.rand(()))],  # noqa: NPY002
        "errors": np.geterr(),
        "types": [str(torch.get_default_dtype()), str(torch.get_default_device()), str(torch.ones(1).dtype)],
        "threads": torch.get_num_threads(),
        "deterministic": [
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ],
        "products": [torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32],
        "backends": [
            torch.backends.cudnn.benchmark,
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.flash_sdp_enabled(),
        ],
        "modes": [torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.is_autocast_enabled("cpu")],
        "autocast": str(torch.get_autocast_dtype("cpu")),
        "sigterm": str(signal.getsignal(signal.SIGTERM)),
        "gradient": None if gradient is None else gradient.tolist(),
        "log": logging.getLogger("study").level,
    }
    (folder / "state.json").write_text(json.dumps(seen))


def user_module(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Import a module of the user, and count how often one process has used it."""
    process(spec, folder, on_epoch)
    sys.path.insert(0, str(folder.parent))
    module: Any = importlib.import_module("module_of_the_user")
    module.uses += 1
    (folder / "seen").write_text(f"{module.VALUE} {module.uses}")


def leaves_thread(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    process(spec, folder, on_epoch)
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def leaves_program(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    process(spec, folder, on_epoch)
    (folder / "helper").write_text(str(subprocess.Popen(["sleep", "600"]).pid))


def leaves_memory(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    process(spec, folder, on_epoch)
    LEFT.append(np.ones((1 << 26) + (1 << 23)))  # 576 MiB


def crashes(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    process(spec, folder, on_epoch)
    os.kill(os.getpid(), signal.SIGKILL)


LEFT: list[object] = []
