"""Benchmark of large ledgers: ``python -m study.bench.scale``.

Runs a study with the fake trainer, in process, at two sizes: a tenth of the requested number of runs, and all of
them. Prints the time of the conductor itself for one run, without its jobs, and the time and peak memory of `plan`,
`status` and `report` on that ledger, each in a process of its own.

With ``--session LEDGER`` it prints instead the conductor's share of the wall time of each session in that ledger.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor, jobs
from study.engine.events import Event, JobEnded
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from study.terminal.display import progress_bar

VARIANTS = 10
TRIALS = 5
"""One run in this many is a search trial."""
AIM_MS = 50.0
COMMANDS = {
    "plan": ("plan", "s.toml"),
    "status": ("status", "s.toml", "--once"),
    "report": ("report", "s.toml"),
}
SMALL_PARENT = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - began, used.ru_maxrss)
"""
"""Starts a command and prints its exit code, seconds and peak memory. It must be a small process, because the peak
memory reported for a process is at least that of the process that started it."""
STUDY = """
title = "A large study"
question = "What does size cost?"
repetitions = {repetitions}
[base.dataset]
name = "faces"
train_clips = 70
validation_clips = 14
test_clips = 14
[design]
kind = "one-factor"
reference = {{ "train.weight_decay" = 0.0 }}
[factors]
"train.weight_decay" = [{levels}]
[train]
epochs = {epochs}
[search]
trials = {trials}
generation = {generation}
sampler = "random"
[search.space]
"train.lr" = {{ low = 3e-4, high = 1e-2, log = true }}
"""


class TimedExecutor(InProcess):
    """Measures the time of its jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def submit(self, task: Call) -> None:
        """Run the task to its end."""
        began = time.perf_counter()
        super().submit(task)
        self.seconds += time.perf_counter() - began


@dataclass(frozen=True)
class Cost:
    """The time and peak memory of one command."""

    seconds: float
    peak_mb: float


def large_study(
    folder: Path, variants: int, repetitions: int, trials: int, epochs: int = 6, generation: int = 4
) -> tuple[StudyRecord, Ledger]:
    """Return a study, compiled in a new folder, and its empty ledger; `generation` trials start together."""
    levels = ", ".join(str(number / 1000) for number in range(variants))
    folder.mkdir(parents=True)
    (folder / "s.toml").write_text(
        STUDY.format(
            levels=levels, repetitions=repetitions, trials=trials, epochs=epochs, generation=generation
        )
    )
    (folder / "study.toml").write_text('mlflow = "off"\n')
    lab = settings(folder)
    return compile_study(load(folder / "s.toml"), lab, "cpu"), Ledger(lab.ledger)


def build_ledger(folder: Path, runs: int) -> float:
    """Run a study with a number of runs in a new folder; return the conductor's time for one run in milliseconds."""
    runs_per_variant = runs // VARIANTS
    record, ledger = large_study(folder, VARIANTS, runs_per_variant // TRIALS, TRIALS)
    executor = TimedExecutor()
    fake = {kind: f"study.testing.fake:{kind}" for kind in jobs.TARGETS}
    trained = 0
    began = time.perf_counter()
    with progress_bar(f"{runs} runs", "trained") as progress, ledger.hold(record.name):

        def count(event: Event) -> None:
            nonlocal trained
            if isinstance(event, JobEnded) and event.job.kind == "train":
                trained += 1
                progress(trained, runs)

        conductor.carry_out(ledger.save(record), ledger, executor, count, fake)
    return 1000 * (time.perf_counter() - began - executor.seconds) / trained


def measure_command(command: tuple[str, ...], folder: Path) -> Cost:
    """Run one command of the command line and return its time and peak memory."""
    process = subprocess.run(
        [sys.executable, "-c", SMALL_PARENT, sys.executable, "-m", "study", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    exit_code, seconds, peak = process.stdout.split()
    if exit_code != "0":
        raise typer.Exit(int(exit_code))
    per_mb = 1024**2 if sys.platform == "darwin" else 1024
    return Cost(float(seconds), int(peak) / per_mb)


def conductor_shares(ledger: Ledger) -> Iterator[str]:
    """Yield a line for each session of each study with the conductor's share of its wall time."""
    for name in ledger.studies():
        for session in ledger.sessions(name):
            if conductor_seconds := session.get("conductor_seconds"):
                share = 100 * conductor_seconds / max(session["seconds"], 0.1)
                yield (
                    f"{name}, {session['begun']}: {session['trainings']} trainings in {session['seconds']:.1f} s, "
                    f"of which the conductor took {conductor_seconds:.2f} s: {share:.2f} %"
                )


def main(
    runs: Annotated[int, typer.Option(min=10 * VARIANTS, help="Runs of the larger ledger.")] = 10_000,
    session: Annotated[Path | None, typer.Option(help="A ledger whose sessions are listed instead.")] = None,
) -> None:
    """Measure the time of the conductor, `plan`, `status` and `report` on a ledger of many runs."""
    if session is not None:
        print("\n".join(conductor_shares(Ledger(session))) or "No session has recorded the conductor's time.")
        return
    table = Table("runs", "conductor, ms a run", *(f"{name}, s" for name in COMMANDS))
    for name in COMMANDS:
        table.add_column(f"{name}, peak MB")
    with tempfile.TemporaryDirectory(prefix="scale-") as root:
        for number in (runs // 10, runs):
            folder = Path(root, str(number))
            conductor_ms = build_ledger(folder, number)
            costs = [measure_command(command, folder) for command in COMMANDS.values()]
            table.add_row(
                str(number),
                f"{conductor_ms:.1f}",
                *(f"{cost.seconds:.1f}" for cost in costs),
                *(f"{cost.peak_mb:.0f}" for cost in costs),
            )
    Console(width=max(110, Console().width)).print(table)
    print(f"Aim: the conductor under {AIM_MS:g} ms a run. It took {conductor_ms:.1f} ms with {runs} runs.")


if __name__ == "__main__":
    typer.run(main)
