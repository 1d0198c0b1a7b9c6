"""What `run` counts and shows."""

from __future__ import annotations

from support.command_lab import FAKE, CommandLab
from support.text_report import write_text

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor
from study.engine.cache import list_trainings
from study.engine.events import Event, StudyStarted
from study.executors.inprocess import InProcess


def test_run_counts_as_cached_what_plan_counts_where_another_study_trained_it(finished: CommandLab) -> None:
    """Which trials a search tries follows from the results of others; both count them."""
    twin = finished.folder / "twin.toml"
    twin.write_text(finished.file.read_text())
    record = compile_study(load(twin), settings(finished.folder), "cpu")
    planned = sum(training.is_done for training in list_trainings(record, finished.ledger).decided)
    events: list[Event] = []
    reports = finished.folder / "reports"
    conductor.run(
        record, finished.ledger, InProcess(), reports, events.append, FAKE, keep="all", write=write_text
    )
    (started,) = [event for event in events if isinstance(event, StudyStarted)]
    assert (started.cached, started.total) == (planned, 10)
    assert planned == 10, "2 variants of 3 trials and 2 repetitions"
