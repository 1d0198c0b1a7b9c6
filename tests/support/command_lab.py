"""A folder with a study of the fake trainer, for tests of the commands that look after studies."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from study.cli.app import app
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor, plan
from study.engine.events import Event
from study.engine.jobs import TARGETS
from study.engine.status import StudyStatus, status
from study.errors import InputError
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from support.small_study import small_study
from support.text_report import write_text

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
DEAD_PROCESS = 999_999_999
"""No process has this number."""

STUDY = small_study(epochs=4, seeds=2, trials=3, generation=2, scope="study")


class InterruptedExecutor(InProcess):
    """Runs a number of tasks, then raises KeyboardInterrupt as Ctrl-C does."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self._remaining = tasks

    def submit(self, task: Call) -> None:
        if not self._remaining:
            raise KeyboardInterrupt
        self._remaining -= 1
        super().submit(task)


class CommandLab:
    """A folder with a study and its ledger, in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "s.toml"
        self.ledger = Ledger(folder / ".study" / "ledger")

    def record(self, *changes: str) -> StudyRecord:
        return compile_study(load(self.file, None, changes), settings(self.folder), "cpu")

    def run(self, *changes: str, tasks: int = 10_000, write: Any = write_text) -> list[Event]:
        events: list[Event] = []
        with suppress(KeyboardInterrupt):
            conductor.run(
                self.record(*changes),
                self.ledger,
                InterruptedExecutor(tasks),
                self.folder / "reports",
                events.append,
                FAKE,
                keep="all",
                write=write,
            )
        return events

    def status(self) -> StudyStatus:
        return status(self.ledger.study("s"), self.ledger)

    def trainings(self) -> list[plan.Job]:
        return list(plan.trainings(self.ledger.study("s"), self.ledger.state))

    def folder_of(self, job: plan.Job) -> Path:
        return self.ledger.run_folder(job.run)

    def accuracy(self, job: plan.Job) -> float:
        """Return the accuracy of a finished training on the validation split."""
        result = self.ledger.state(job.run.id).result
        assert result is not None
        return result.validation["war"]

    def invoke(self, *words: str) -> str:
        """Run a command, which must succeed, and return its output."""
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def input_error(self, *words: str) -> str:
        """Run a command, which must end in an input error, and return its message."""
        with pytest.raises(InputError) as caught:
            CliRunner().invoke(app, list(words), catch_exceptions=False, standalone_mode=False)
        return str(caught.value)
