"""Trains a command in a worker process; imported by it."""

from __future__ import annotations

from pathlib import Path

from study.tasks.own import processes
from support.own_tasks import command_task, run_of

ENDLESS = """
import os, pathlib, subprocess, sys, time
if {deaf}:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(os.environ["STUDY_FOLDER"], "pids").write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""


def endless(spec, folder: Path, on_epoch, deaf: str = "") -> None:
    processes.GRACE_S = 0.5 if deaf else processes.GRACE_S
    task = command_task(folder, ["python", "-c", ENDLESS.format(deaf=bool(deaf)).replace("{", "{{")])
    task.train(run_of(task, folder))


def failing(spec, folder: Path, on_epoch) -> None:
    code = "import sys; [print('line', n) for n in range(50)]; sys.exit('last words')"
    task = command_task(folder, ["python", "-c", code])
    task.train(run_of(task, folder))


def interruptible(spec, folder: Path, on_epoch) -> None:
    """Whether a program may be interrupted, which a worker itself must not be."""
    code = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)"
    task = command_task(folder, ["python", "-c", code])
    task.train(run_of(task, folder))
