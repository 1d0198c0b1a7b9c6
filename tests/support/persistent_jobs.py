"""Jobs of persistent workers, to be preloaded: a worker that imports them itself takes no other call."""

from __future__ import annotations

import importlib
import json
import logging
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

from study.records import Epoch, RunSpec
from support.worker_jobs import endless, raising

__all__ = ["endless", "raising"]


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
