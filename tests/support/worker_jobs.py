"""Jobs that misbehave in the ways that real ones do; imported by worker processes."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

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
