"""What a person is told while a study runs."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from study.cli.display import Display, duration
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine.events import (
    EpochEnded,
    JobEnded,
    JobRetried,
    JobStarted,
    StudyStarted,
    TrainingFound,
    Waiting,
)
from study.engine.plan import Job
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord
from study.metrics import Metric
from study.records import Epoch, Machine, RunResult, Stopped

STUDY = """
title = "t"
question = "Does it?"
base.dataset = { name = "faces", train_clips = 70, validation_clips = 14, test_clips = 14 }
factors.splitter = ["even-odd", "issm"]
design = { kind = "one-factor", reference = { splitter = "even-odd" } }
train.epochs = 4
search = { trials = 4, space = { "train.lr" = [0.1, 0.2] } }
repetitions = 2
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyRecord:
    file = tmp_path_factory.mktemp("study") / "s.toml"
    file.write_text(STUDY)
    return compile_study(load(file), settings(file.parent), "cpu")


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def display(screen: io.StringIO) -> Display:
    return Display(Console(file=screen, width=200))


def job(study: StudyRecord, purpose: str = "search", number: int = 0, variant: int = 0) -> Job:
    chosen = study.variants[variant]
    return Job(
        "train",
        chosen.run({"train.lr": 0.1}, number + 100 * (purpose == "confirm"), None),
        chosen.name,
        purpose,
        number,
    )


def epoch(number: int, seconds: float = 5.0, validation: dict[str, float] | None = None) -> Epoch:
    return Epoch(number, 1.25, 1e-3, {"war": 0.5} if validation is None else validation, seconds)


def result(job: Job, seconds: float, validation: dict[str, float] | None = None) -> RunState:
    chosen = {"war": 0.5} if validation is None else validation
    machine = Machine({}, "", "")
    return RunState(RunResult(job.run.id, "finished", 4, chosen, (epoch(4),), 1, seconds, machine))


def pruned(job: Job, seconds: float) -> RunState:
    return RunState(pruned=Stopped(job.run.id, {"1": 0.9}, 1, 0.5, (epoch(1, seconds),)))


def test_time_left_is_honest_where_trials_are_pruned(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    """Two trials that were stopped after 10 s say nothing of a seed; two that ended after 100 s say 100 s, not 55."""
    one = replace(study, variants=study.variants[:1])
    with display:
        display(StudyStarted(one, 6, 0))
        for number, state in enumerate((pruned, pruned, result, result)):
            trial = job(one, number=number)
            display(JobStarted(trial))
            display(JobEnded(trial, state(trial, 10.0 if state is pruned else 100.0)))
    told = [line.split("about ")[1] for line in screen.getvalue().splitlines() if "left" in line]
    assert told == ["4 min left", "3 min left"], "40 s + 2 x 100 s, then 2 x 100 s; before, nobody knows"


def test_what_was_found_cached_tells_how_long_the_rest_takes(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    with display:
        display(StudyStarted(study, 12, 0))
        for number in range(4):
            display(TrainingFound(job(study, number=number), result(job(study, number=number), 20.0)))
        seed = job(study, "confirm", 0)
        display(JobStarted(seed))
        display(EpochEnded(seed, epoch(2)))
        display(JobEnded(seed, result(seed, 20.0)))
    assert screen.getvalue().splitlines()[-1].strip() == "5 of 12 trainings, about 2 min left"  # 7 x 20 s


def test_a_training_without_a_selection_split_has_no_score_to_show(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    seed = job(study, "confirm")
    with display:
        display(StudyStarted(study, 12, 0))
        display(JobStarted(seed))
        display(EpochEnded(seed, epoch(3, validation={})))
        display(JobEnded(seed, result(seed, 20.0, {})))
    said = screen.getvalue()
    assert "epoch   even-odd, seed 1  epoch 3/4  loss 1.250\n" in said
    assert "done    even-odd, seed 1  at epoch 4 (20 s)\n" in said


def test_a_training_that_tells_no_number_of_epochs_and_no_loss_is_shown_by_its_metric(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    metric = Metric("rmse", "RMSE", unit="K", scale=1.0, direction="minimize", high=None)
    own = replace(study, metric="rmse", metrics=(metric,))
    seed = job(own, "confirm")
    seed = replace(seed, run=replace(seed.run, epochs_key=""))
    with display:
        display(StudyStarted(own, 12, 0))
        display(JobStarted(seed))
        display(EpochEnded(seed, Epoch(3, None, None, {"rmse": 2.34567}, 5.0)))
        display(JobEnded(seed, result(seed, 20.0, {"rmse": 2.25})))
    said = screen.getvalue()
    assert "epoch   even-odd, seed 1  epoch 3  RMSE 2.346 K\n" in said
    assert "done    even-odd, seed 1  RMSE 2.25 K at epoch 4 (20 s)\n" in said


def test_a_run_that_is_trained_again_is_counted_once(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    seed = job(study, "confirm")
    with display:
        display(StudyStarted(study, 12, 1))
        display(TrainingFound(seed, result(seed, 20.0)))
        display(JobEnded(seed, result(seed, 20.0)))
    assert "1 of 12 trainings" in screen.getvalue()


def test_deaths_and_waiting_are_told_where_they_happen(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    seed = job(study, "confirm", 1)
    with display:
        display(StudyStarted(study, 12, 0))
        display(JobStarted(seed))
        display(JobRetried(seed, "the worker process was killed by SIGKILL"))
        display(Waiting(seed, Holder("lab2", 17, "")))
    said = screen.getvalue()
    assert "DIED    even-odd, seed 2: the worker process was killed by SIGKILL; it is tried once more" in said
    assert "waiting for even-odd, seed 2, which process 17 on lab2 is doing for another study" in said


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (5400, "2 h"), (47 * 3600, "47 h"), (10 * 86400, "10 days")],
)
def test_times_are_told_in_a_unit_that_fits(seconds: float, told: str) -> None:
    assert duration(seconds) == told
