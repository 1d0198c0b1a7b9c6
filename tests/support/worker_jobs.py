"""Jobs that misbehave in the ways that real ones do; imported by worker processes."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import threading
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


def reports(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Report an epoch every tenth of a second, for longer than any test."""
    for number in range(1, 6000):
        on_epoch(Epoch(number, 0.5, 0.1, {"war": 0.5}, 0.0))
        time.sleep(0.1)
