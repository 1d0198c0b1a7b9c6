"""Benchmark of what the harness adds to a run: the conductor, the start of a worker, synthetic clips."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from study.bench.result import Measured, in_turn, on_this_machine
from study.bench.scale import build_ledger
from study.config.registry import Registry
from study.executors.base import Call, CallEnded
from study.executors.local import LocalWorkers
from study.machine import cpu_cores
from study.records import RunSpec
from study.tasks.clips.data.contract import SPLITS
from study.tasks.clips.data.generate import generate
from study.tasks.clips.task import ClipsTask

RUNS = (100, 300)
"""Runs of the smaller and of the larger ledger."""
CLIPS = 1500
JOB = "study.testing.fake:profile"
"""A job of about a millisecond."""
POLL_S = 10.0
MEMORY = "/dev/shm"
"""A folder in memory, where there is one: the time of a disk is not the harness's."""


def scale(repeats: int = 5, runs: Sequence[int] = RUNS, clips: int = CLIPS) -> list[Measured]:
    """Measure the conductor's time for one run, the start of a run, and the generation of clips.

    Args:
        repeats: Measurements of each side; the ledgers are built once.
        runs: Runs of the smaller and of the larger ledger.
        clips: Training clips that are generated, 16 x 32 x 32.
    """
    device, versions = on_this_machine()
    result = partial(Measured, device=device, versions=versions)
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=memory) as folder:
        few, many = (build_ledger(Path(folder, str(number)), number) for number in runs)
        starts = _starts(Path(folder), repeats)
        drawn = _generation(Path(folder), repeats, clips)
    return [
        result(f"conductor, {runs[1]} runs", "ms a run", few, many, f"{runs[0]} runs"),
        result(
            "start and end of a run, worker that takes run after run",
            "ms",
            starts["new"],
            starts["kept"],
            "a new process for each run",
            repeats=repeats,
        ),
        result(
            f"{clips} clips generated before the first run, {len(cpu_cores())} cores",
            "s",
            drawn["alone"],
            drawn["together"],
            "by the first run that reads them",
            repeats=repeats,
        ),
    ]


def _starts(folder: Path, repeats: int) -> dict[str, float]:
    """Return the milliseconds that a run of no length takes in a new process, and in one that has done others."""
    run = RunSpec({"train": {"epochs": 1, "lr": 0.01}}, seed=0, data_digest="", code_digest="")
    number = count()

    def timed(workers: LocalWorkers, alone: Callable[[], str]) -> float:
        call = Call("start", JOB, run, folder / f"run {next(number)}", alone=alone())
        began = time.perf_counter()
        workers.submit(call)
        while not any(isinstance(event, CallEnded) for event in workers.wait(POLL_S)):
            pass
        return (time.perf_counter() - began) * 1e3

    with (
        closing(LocalWorkers(1, preload=(JOB.partition(":")[0], *ClipsTask.preload))) as new,
        closing(LocalWorkers(1)) as kept,
    ):
        sides = {
            "new": lambda: timed(new, lambda: str(next(number))),
            "kept": lambda: timed(kept, lambda: "kept"),
        }
        return in_turn(sides, repeats)


def _generation(folder: Path, repeats: int, clips: int) -> dict[str, float]:
    """Return the seconds in which a run that reads the training clips writes them, and `generate` does."""
    registry, number = Registry(), count()

    def table() -> dict[str, object]:
        cache = folder / f"clips {next(number)}"
        given = {"name": "faces", "train_clips": clips, "validation_clips": 1, "test_clips": 1}
        return {**registry.resolve("dataset", given, "bench"), "cache": str(cache)}

    def alone() -> float:
        dataset = registry.build("dataset", table())
        began = time.perf_counter()
        for split in SPLITS:
            dataset.split(split).read(np.array([0]), None)
        return time.perf_counter() - began

    def together() -> float:
        tables = [table()]
        began = time.perf_counter()
        generate(registry, tables, lambda done, total: None)
        return time.perf_counter() - began

    return in_turn({"alone": alone, "together": together}, repeats)
