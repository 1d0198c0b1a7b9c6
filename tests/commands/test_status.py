"""``study status`` and ``study stop``: counts, running trainings, the time left, and stopping."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console
from support.command_lab import DEAD_PROCESS, STUDY, CommandLab
from support.edits import edit

from study.cli import ledger as commands
from study.engine import plan, status
from study.engine.events import JobStarted
from study.engine.status import StudyStatus
from study.files import write
from study.ledger.locks import Holder
from study.ledger.record import StudyRecord
from study.ledger.store import Ledger
from study.records import Epoch, Failure, to_json


def set_duration(lab: CommandLab, job: plan.Job, seconds: float) -> None:
    """Change the recorded duration of a finished training."""
    path = lab.folder_of(job) / "result.json"
    edit(path, seconds=seconds)
    lab.ledger = Ledger(lab.ledger.root)


@pytest.mark.parametrize("tasks", [0, 1, 3, 8, 100])
def test_every_training_is_counted_once_wherever_a_study_was_interrupted(lab: CommandLab, tasks: int) -> None:
    trained = sum(
        isinstance(event, JobStarted) and event.job.kind == "train" for event in lab.run(tasks=tasks)
    )
    interrupted = tasks < 100
    counts = lab.status().counts
    assert counts.total == 2 * (3 + 2)
    assert counts.done == trained
    assert counts.waiting == (10 - trained if interrupted else 0)
    assert (counts.running, counts.failed, counts.pruned) == (0, 0, 0)


def test_status_names_the_process_that_runs_a_study_and_the_epoch_of_its_trainings(lab: CommandLab) -> None:
    lab.run(tasks=1)
    waiting = next(job for job in lab.trainings() if not lab.ledger.state(job.run.id).final)
    lab.ledger.begin(waiting.run)
    history = [Epoch(number, 1.0, 1e-3, {}, 2.0) for number in (1, 2, 3)]
    write(lab.folder_of(waiting) / "history.json", json.dumps([vars(epoch) for epoch in history]))
    with lab.ledger.hold("s"):
        assert lab.ledger.acquire(lab.folder_of(waiting)) is None
        table = lab.invoke("status", "s.toml", "--once")
        overview = lab.invoke("status")
        lab.ledger.release(lab.folder_of(waiting))
    assert f"Process {os.getpid()} on " in table
    assert f"trial {waiting.number + 1}: epoch 3 of 4" in table
    rows = [line.split() for line in table.splitlines()]
    assert [waiting.variant, "1", *(["1"] if waiting.number else ["0"]), "0", "0"] == rows[
        next(index for index, row in enumerate(rows) if row[0] == waiting.variant)
    ][:5]
    assert overview.startswith("s  1 of 10 done, 1 running; process ")
    assert "not running; 9 trainings left" in lab.invoke("status")


def test_a_claim_of_a_dead_process_is_no_running_training(lab: CommandLab) -> None:
    lab.run(tasks=1)
    for job in lab.trainings():
        write(lab.folder_of(job) / "claim", f"{os.uname().nodename} {DEAD_PROCESS} x")
    assert lab.status().counts.running == 0


def test_status_knows_a_study_whose_file_is_gone(finished: CommandLab) -> None:
    finished.file.unlink()
    for study in ("s", "s.toml"):
        output = finished.invoke("status", study)
        assert "Not running; every training has ended." in output
        assert ["even-odd", "0", "5", "0", "0", "0"] in [line.split() for line in output.splitlines()]


def test_the_status_does_not_read_the_study_file(finished: CommandLab) -> None:
    before = finished.invoke("status", "s.toml")
    finished.file.write_text("no TOML at all [")
    assert finished.invoke("status", "s.toml") == before


def test_status_of_an_empty_ledger_says_so(lab: CommandLab) -> None:
    output = lab.invoke("status")
    assert "has no study yet" in output
    assert str(lab.ledger.root) in output


def test_an_unknown_study_is_an_error_with_the_nearest_name(finished: CommandLab) -> None:
    for command in ("status", "stop", "sync"):
        assert "has no study 'ss'. Did you mean 's'?" in finished.input_error(command, "ss")
    assert "has no study 's@smoke'" in finished.input_error("status", "s.toml", "--preset", "smoke")


def test_status_counts_failures_and_divergence_as_the_conductor_does(finished: CommandLab) -> None:
    repetition = next(job for job in finished.trainings() if job.purpose == "repetition")
    trial = min(
        (job for job in finished.trainings() if (job.purpose, job.variant) == ("search", repetition.variant)),
        key=finished.accuracy,  # a trial that was not chosen
    )
    for job in (trial, repetition):
        edit(finished.folder_of(job) / "result.json", status="diverged")
    finished.ledger = Ledger(finished.ledger.root)
    counts = finished.status().counts
    assert (counts.done, counts.failed) == (10, 0), "divergence is a result, of a repetition too"


def test_repetitions_after_a_failed_search_do_not_count_as_waiting(lab: CommandLab) -> None:
    lab.run(tasks=0)
    while waiting := [job for job in lab.trainings() if not lab.ledger.state(job.run.id).final]:
        for job in waiting:
            write(lab.folder_of(job) / "failure.json", to_json(Failure(job.run.id, "train", "no", "")))
        lab.run(tasks=0)
    current = lab.status()
    assert (current.counts.failed, current.counts.waiting) == (10, 0)
    assert current.seconds_left == 0


def test_pruned_trials_are_counted_separately(lab: CommandLab) -> None:
    lab.file.write_text(STUDY.replace("trials = 3", 'trials = 12\npruner = "halving"'))
    lab.run()
    counts = lab.status().counts
    stopped = [job for job in lab.trainings() if list(lab.folder_of(job).glob("stopped-*.json"))]
    assert counts.pruned == len(stopped) > 0
    assert counts.done == counts.total - counts.pruned


def test_time_left_follows_from_the_trainings_of_each_variant_and_the_workers(
    finished: CommandLab,
) -> None:
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 4"))
    finished.run(tasks=0)
    for job in finished.trainings():
        if finished.ledger.state(job.run.id).final:
            own = 100.0 if job.variant == "issm" else 10.0
            set_duration(finished, job, own if job.purpose == "repetition" else 7.0)
    finished.ledger.save_session("s", 0, {"workers": 2})
    assert finished.status().seconds_left == (2 * 100 + 2 * 10) / 2
    finished.ledger.save_session("s", 1, {"workers": 11})
    assert finished.status().seconds_left == pytest.approx(220 / 11)


def test_time_left_of_running_trainings_subtracts_finished_epochs(finished: CommandLab) -> None:
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 3"))
    finished.run(tasks=0)
    for job in finished.trainings():
        if finished.ledger.state(job.run.id).final:
            set_duration(finished, job, 40.0)
        else:
            epochs = [vars(Epoch(1, 1.0, 1e-3, {}, 9.0))]
            write(finished.folder_of(job) / "history.json", json.dumps(epochs))
            assert finished.ledger.acquire(finished.folder_of(job)) is None
    finished.ledger.save_session("s", 0, {"workers": 8})
    assert finished.status().counts.running == 2
    assert finished.status().seconds_left == 30, "no less than the longest of them, however many workers"
    finished.ledger.release_all()


def test_status_needs_neither_torch_nor_mlflow_nor_matplotlib(finished: CommandLab) -> None:
    code = (
        "import sys; from study.cli.app import app; app(['status', 's'], standalone_mode=False);"
        "sys.exit(bool({'torch', 'mlflow', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(commands.__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


def test_status_on_a_terminal_refreshes_until_the_study_is_no_longer_running(
    lab: CommandLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.run(tasks=1)
    holders: list[Holder | None] = []

    def read(record: StudyRecord, ledger: Ledger) -> StudyStatus:
        current = read_status(record, ledger)
        holders.append(current.holder)
        if len(holders) == 3:
            lock.close()
        return current

    read_status = status.status
    lock = ExitStack()
    lock.enter_context(lab.ledger.hold("s"))
    with (tmp_path / "screen").open("w") as screen, monkeypatch.context() as patch:
        patch.setattr(commands, "REFRESH_S", 0.0)
        patch.setattr(
            commands, "PrintedConsole", lambda: Console(file=screen, force_terminal=True, width=100)
        )
        patch.setattr(status, "status", read)
        commands.status("s")
    assert [holder is None for holder in holders] == [False, False, False, True]


def test_stopping_a_study_that_is_not_running_does_not_stop_its_next_run(finished: CommandLab) -> None:
    assert finished.invoke("stop", "s") == "s: not running.\n"
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 3"))
    assert sum(isinstance(event, JobStarted) and event.job.kind == "train" for event in finished.run()) == 2


def test_stop_with_wait_returns_once_the_study_has_stopped(lab: CommandLab) -> None:
    lab.run(tasks=1)
    started = threading.Event()

    def hold() -> None:
        with lab.ledger.hold("s"):
            started.set()
            while not lab.ledger.stop_requested("s"):
                time.sleep(0.01)

    running = threading.Thread(target=hold)
    running.start()
    started.wait()
    output = lab.invoke("stop", "s", "--wait")
    running.join()
    assert "stop requested" in output
    assert "s: stopped" in output
    assert lab.ledger.holder("s") is None


@pytest.mark.parametrize("command", ["run", "plan", "report"])
def test_rendered_clips_cannot_be_skipped(lab: CommandLab, command: str) -> None:
    assert "'faces' are not read from recorded files" in lab.input_error(command, "s.toml", "--skip-bad")
    assert not lab.ledger.root.exists()


def test_skip_bad_names_the_same_study_as_its_setting(lab: CommandLab) -> None:
    from study.cli.context import SKIPPING, with_skipping
    from study.config.study import name_of

    lab.file.unlink()  # a report is written from the ledger, with or without the file
    changes = with_skipping(True, lab.file, None, ["train.epochs=2"])
    assert name_of(lab.file, None, changes) == name_of(lab.file, None, [SKIPPING, "train.epochs=2"])
    assert with_skipping(True, lab.file, None, changes) == changes
