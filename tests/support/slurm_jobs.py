"""Calls that run long enough to be interrupted; imported by workers inside jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from study.files import write
from study.records import Epoch, RunSpec

STEPS = 20
STEP_S = 0.25


def steady(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Take some seconds, with a checkpoint after each epoch, from which a further attempt continues."""
    checkpoint = folder / "checkpoint"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    with (folder / "attempts").open("a") as file:
        file.write(f"{done}\n")
    for number in range(done + 1, STEPS + 1):
        time.sleep(STEP_S)
        write(checkpoint, str(number))
        on_epoch(Epoch(number, 0.5, 0.1, {"war": 0.5}, 0.0))
    write(folder / "done", str(os.getpid()))


def forgetful(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Never write a checkpoint, and take longer than any job."""
    on_epoch(Epoch(1, 0.5, 0.1, {"war": 0.5}, 0.0))
    time.sleep(120)
