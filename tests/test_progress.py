"""The progress display of a running study."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine.events import (
    EpochEnded,
    JobEnded,
    JobRetried,
    JobStarted,
    Preparing,
    Step,
    StudyStarted,
    TrainingFound,
    Waiting,
)
from study.engine.plan import Job, Purpose
from study.ledger.locks import Holder
from study.ledger.record import RunState, StudyRecord
from study.metrics import Metric
from study.records import Epoch, Machine, RunResult, Stopped
from study.terminal.display import Display, format_duration, format_time_left

STUDY = """
title = "t"
question = "Does it?"
base.dataset = { name = "faces", train_clips = 70, validation_clips = 14, test_clips = 14 }
factors.splitter = ["even-odd", "issm"]
design = { kind = "one-factor", reference = { splitter = "even-odd" } }
train.epochs = 4
search = { trials = 4, scope = "study", space = { "train.lr" = { low = 0.1, high = 0.2 } } }
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


def job(study: StudyRecord, purpose: Purpose = "search", number: int = 0, variant: int = 0) -> Job:
    record = study.variants[variant]
    return Job(
        "train",
        record.run({"train.lr": 0.1}, number + 100 * (purpose == "repetition"), None),
        record.name,
        purpose,
        number,
    )


def epoch(number: int, seconds: float = 5.0, validation: dict[str, float] | None = None) -> Epoch:
    return Epoch(number, 1.25, 1e-3, {"war": 0.5} if validation is None else validation, seconds)


def result(job: Job, seconds: float, validation: dict[str, float] | None = None) -> RunState:
    scores = {"war": 0.5} if validation is None else validation
    machine = Machine({}, "", "")
    return RunState(RunResult(job.run.id, "finished", 4, scores, (epoch(4),), 1, seconds, machine))


def pruned(job: Job, seconds: float) -> RunState:
    return RunState(pruned=Stopped(job.run.id, {"1": 0.9}, 1, 0.5, (epoch(1, seconds),)))


def test_pruned_trials_do_not_shorten_the_estimate_of_repetitions(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    """Two trials pruned after 10 s and two finished after 100 s: a repetition takes 100 s, not 55."""
    single = replace(study, variants=study.variants[:1])
    with display:
        display(StudyStarted(single, 6, 0))
        for number, state in enumerate((pruned, pruned, result, result)):
            trial = job(single, number=number)
            display(JobStarted(trial))
            display(JobEnded(trial, state(trial, 10.0 if state is pruned else 100.0)))
    estimates = [line.split("about ")[1] for line in screen.getvalue().splitlines() if "left" in line]
    assert estimates == ["4 min left", "3 min left"], "40 s + 2 x 100 s, then 2 x 100 s; no estimate before"


def test_cached_trainings_count_in_the_estimate(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    with display:
        display(StudyStarted(study, 12, 0))
        for number in range(4):
            display(TrainingFound(job(study, number=number), result(job(study, number=number), 20.0)))
        repetition = job(study, "repetition", 0)
        display(JobStarted(repetition))
        display(EpochEnded(repetition, epoch(2)))
        display(JobEnded(repetition, result(repetition, 20.0)))
    assert screen.getvalue().splitlines()[-1].strip() == "5 of 12 trainings, about 2 min left"  # 7 x 20 s


def test_a_training_without_a_validation_score_shows_none(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    repetition = job(study, "repetition")
    with display:
        display(StudyStarted(study, 12, 0))
        display(JobStarted(repetition))
        display(EpochEnded(repetition, epoch(3, validation={})))
        display(JobEnded(repetition, result(repetition, 20.0, {})))
    output = screen.getvalue()
    assert "epoch   even-odd, repetition 1  epoch 3/4  loss 1.250\n" in output
    assert "done    even-odd, repetition 1  at epoch 4 (20 s)\n" in output


def test_a_training_without_a_number_of_epochs_or_a_loss_shows_its_metric(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    metric = Metric("rmse", "RMSE", unit="K", scale=1.0, direction="minimize", high=None)
    other = replace(study, metric="rmse", metrics=(metric,))
    repetition = job(other, "repetition")
    repetition = replace(repetition, run=replace(repetition.run, epochs_key=""))
    with display:
        display(StudyStarted(other, 12, 0))
        display(JobStarted(repetition))
        display(EpochEnded(repetition, Epoch(3, None, None, {"rmse": 2.34567}, 5.0)))
        display(JobEnded(repetition, result(repetition, 20.0, {"rmse": 2.25})))
    output = screen.getvalue()
    assert "epoch   even-odd, repetition 1  epoch 3  RMSE 2.346 K\n" in output
    assert "done    even-odd, repetition 1  RMSE 2.25 K at epoch 4 (20 s)\n" in output


def test_a_run_that_is_trained_again_is_counted_once(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    repetition = job(study, "repetition")
    with display:
        display(StudyStarted(study, 12, 1))
        display(TrainingFound(repetition, result(repetition, 20.0)))
        display(JobEnded(repetition, result(repetition, 20.0)))
    assert "1 of 12 trainings" in screen.getvalue()


def test_killed_workers_and_waiting_are_shown(
    study: StudyRecord, display: Display, screen: io.StringIO
) -> None:
    repetition = job(study, "repetition", 1)
    with display:
        display(StudyStarted(study, 12, 0))
        display(JobStarted(repetition))
        display(JobRetried(repetition, "the worker process was killed by SIGKILL"))
        display(Waiting(repetition, Holder("lab2", 17, "")))
    output = screen.getvalue()
    assert (
        "DIED    even-odd, repetition 2: the worker process was killed by SIGKILL; it is started again"
        in output
    )
    assert "waiting for even-odd, repetition 2, which process 17 on lab2 runs for another study" in output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (5400, "2 h"), (47 * 3600, "47 h"), (10 * 86400, "10 days")],
)
def test_durations_are_formatted_in_a_suitable_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_live_table_shows_loss_score_best_and_time_left_and_what_else_is_done(
    study: StudyRecord, screen: io.StringIO
) -> None:
    console = Console(file=screen, width=120, force_terminal=True, color_system=None)
    display = Display(console)
    begun, fresh = job(study, "repetition"), job(study, "repetition", 1)
    with display:
        display(StudyStarted(study, 12, 0))
        for started in (begun, fresh, replace(begun, kind="evaluate")):
            display(JobStarted(started))
        display(EpochEnded(begun, epoch(1, 30.0, {"war": 0.7})))
        display(EpochEnded(begun, epoch(2, 30.0, {"war": 0.6})))
        shown = io.StringIO()
        Console(file=shown, width=120).print(display._render())
    head, first, second, third = (line.split() for line in shown.getvalue().splitlines()[1:])
    assert head == ["variant", "run", "epoch", "loss", "WAR", "(%)", "best", "left"]
    assert first == [
        *["even-odd", "repetition", "1", "2", "of", "4", "1.250", "60.0", "70.0", "about", "60", "s"]
    ]
    assert second[:11] == [
        *["even-odd", "repetition", "2", "data,", "then", "epoch", "1", "of", "4:", "0", "s"]
    ]
    assert third[3] == "test"


def test_the_time_left_of_work_that_goes_on_is_never_zero() -> None:
    assert [format_time_left(seconds) for seconds in (0.0, 0.4, 4.9, 12.0, 300.0)] == [
        *["a few seconds"] * 3,
        "about 12 s",
        "about 5 min",
    ]


def test_what_happens_before_the_first_training_is_shown(display: Display, screen: io.StringIO) -> None:
    with display:
        for event in (Preparing(Step.PREPARE), Preparing(Step.WORKERS, 2), Preparing(Step.CHECK)):
            display(event)
    lines = screen.getvalue().splitlines()
    assert len(lines) == len(Step)
    assert "2 workers" in lines[1]
