"""A folder with a study and a ledger, and a trainer that trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from study.analysis.findings import Findings
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor, plan
from study.engine.conductor import Writer
from study.engine.events import Event, JobStarted
from study.engine.jobs import TARGETS
from study.executors.base import Executor
from study.executors.inprocess import InProcess
from study.files import write
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from support.small_study import small_study
from support.text_report import write_text

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}

STUDY = small_study(epochs=2, seeds=3, trials=3, claim=True)


class Lab:
    """A folder with a study, a ledger and a fake trainer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "s.toml"
        write(self.file, STUDY)  # several processes may make the same lab
        self.ledger = Ledger(folder / "ledger")
        self.events: list[Event] = []

    def record(self, *changes: str) -> StudyRecord:
        lab = settings(self.folder)
        return compile_study(load(self.file, None, changes), lab, "cpu")

    def run(
        self,
        *changes: str,
        targets: Mapping[plan.JobKind, str] = FAKE,
        executor: Executor | None = None,
        write: Writer | None = write_text,
    ) -> Findings:
        self.events = []
        return conductor.run(
            self.record(*changes),
            self.ledger,
            executor or InProcess(),
            self.folder / "reports",
            self.events.append,
            targets,
            write=write,
        )

    def started(self, kind: str = "train") -> list[plan.Job]:
        return [
            event.job for event in self.events if isinstance(event, JobStarted) and event.job.kind == kind
        ]
