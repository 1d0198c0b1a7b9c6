"""Jobs that fill the disk of their folder, each in a way of its own; imported by worker processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from study.records import Epoch, RunSpec

CHUNK = bytes(100_000)
Report = Callable[[Epoch], None]


def _fill(folder: Path) -> None:
    with (folder / "big").open("wb", buffering=0) as file:
        while True:
            file.write(CHUNK)


def writes(spec: RunSpec, folder: Path, on_epoch: Report) -> None:
    _fill(folder)


def wraps(spec: RunSpec, folder: Path, on_epoch: Report) -> None:
    try:
        _fill(folder)
    except OSError as error:
        raise RuntimeError("the weights could not be saved") from error


def prints(spec: RunSpec, folder: Path, on_epoch: Report) -> None:
    while True:
        print("x" * 100_000)


def maps(spec: RunSpec, folder: Path, on_epoch: Report) -> None:
    rows = np.lib.format.open_memmap(folder / "map.npy", mode="w+", dtype=np.uint8, shape=(10_000_000,))
    rows[:] = 1


def exits(spec: RunSpec, folder: Path, on_epoch: Report) -> None:
    try:
        _fill(folder)
    except OSError:
        sys.stdout.flush()
        os._exit(1)


def forgets(spec: RunSpec, folder: Path, on_epoch: Report) -> None:
    try:
        _fill(folder)
    except OSError:
        raise ValueError("nothing was saved") from None
