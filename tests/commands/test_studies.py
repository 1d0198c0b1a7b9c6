"""Looking after studies: what people are told of them, and what is freed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.small_study import small_study
from support.text_report import write_text
from typer.testing import CliRunner

from study.cli import ledger as commands
from study.cli.app import app
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor, gc, plan
from study.engine.events import Event, Started
from study.engine.jobs import TARGETS
from study.engine.status import status
from study.errors import InputError
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.files import write
from study.ledger.store import Ledger
from study.records import Failure, to_json
from study.testing import fake

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
GONE = 999_999_999
"""No process has this number."""

STUDY = small_study(epochs=4, seeds=2, trials=3, generation=2)


class Some(InProcess):
    """Runs so many tasks; then Ctrl-C."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self._left = tasks

    def submit(self, task: Call) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        super().submit(task)


class Lab:
    """A folder with a study and its ledger, in which commands are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "s.toml"
        self.ledger = Ledger(folder / ".study" / "ledger")

    def record(self, *changes: str):
        return compile_study(load(self.file, None, changes), settings(self.folder), "cpu")

    def run(self, *changes: str, tasks: int = 10_000, write: Any = write_text) -> list[Event]:
        events: list[Event] = []
        try:
            record = self.record(*changes)
            reports = self.folder / "reports"
            conductor.run(
                record,
                self.ledger,
                Some(tasks),
                reports,
                events.append,
                FAKE,
                keep="all",
                write=write,
            )
        except KeyboardInterrupt:
            pass
        return events

    def status(self):
        return status(self.ledger.study("s"), self.ledger)

    def trainings(self) -> list[plan.Job]:
        return list(plan.trainings(self.ledger.study("s"), self.ledger.state))

    def folder_of(self, job: plan.Job) -> Path:
        return self.ledger.run_folder(job.run)

    def say(self, *words: str) -> str:
        """Give a command and return what it prints; it must succeed."""
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def refusal(self, *words: str) -> str:
        with pytest.raises(InputError) as caught:
            CliRunner().invoke(app, list(words), catch_exceptions=False, standalone_mode=False)
        return str(caught.value)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "s.toml").write_text(STUDY)
    (folder / "study.toml").write_text('mlflow = "off"\n')
    Lab(folder).run(write=None)
    return folder


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    (tmp_path / "s.toml").write_text(STUDY)
    (tmp_path / "study.toml").write_text('mlflow = "off"\n')
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path)


def timed(lab: Lab, job: plan.Job, seconds: float) -> None:
    """Have a training that has ended taken so long."""
    path = lab.folder_of(job) / "result.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | {"seconds": seconds}) + "\n")
    lab.ledger = Ledger(lab.ledger.root)


# status


@pytest.mark.parametrize("tasks", [0, 1, 3, 8, 100])
def test_every_training_is_counted_once_wherever_a_study_was_cut(lab: Lab, tasks: int) -> None:
    trained = sum(isinstance(event, Started) and event.job.kind == "train" for event in lab.run(tasks=tasks))
    cut = tasks < 100
    counts = lab.status().counts
    assert counts.total == 2 * (3 + 2)
    assert counts.done == trained
    assert counts.waiting == (10 - trained if cut else 0)
    assert (counts.running, counts.failed, counts.pruned) == (0, 0, 0)


def test_status_says_who_runs_a_study_and_in_which_epoch_its_trainings_are(lab: Lab) -> None:
    lab.run(tasks=1)
    waiting = next(job for job in lab.trainings() if not lab.ledger.state(job.run.id).final)
    lab.ledger.begin(waiting.run)
    history = [fake.Epoch(number, 1.0, 1e-3, {}, 2.0) for number in (1, 2, 3)]
    write(lab.folder_of(waiting) / "history.json", json.dumps([vars(epoch) for epoch in history]))
    with lab.ledger.hold("s"):
        assert lab.ledger.claim(lab.folder_of(waiting)) is None
        said = lab.say("status", "s.toml", "--once")
        whole = lab.say("status")
        lab.ledger.release(lab.folder_of(waiting))
    assert f"Process {os.getpid()} on " in said
    assert f"trial {waiting.number + 1}: epoch 3 of 4" in said
    rows = [line.split() for line in said.splitlines()]
    assert [waiting.variant, "1", *(["1"] if waiting.number else ["0"]), "0", "0"] == rows[
        next(place for place, row in enumerate(rows) if row[0] == waiting.variant)
    ][:5]
    assert whole.startswith("s  1 of 10 done, 1 running; process ")
    assert "nobody runs it; 9 trainings left" in lab.say("status")


def test_a_claim_of_a_dead_process_is_no_running_training(lab: Lab) -> None:
    lab.run(tasks=1)
    for job in lab.trainings():
        write(lab.folder_of(job) / "claim", f"{os.uname().nodename} {GONE} x")
    assert lab.status().counts.running == 0


def test_status_knows_a_study_whose_file_is_gone(finished: Lab) -> None:
    finished.file.unlink()
    for given in ("s", "s.toml"):
        said = finished.say("status", given)
        assert "Nobody runs it; every training has ended." in said
        assert ["even-odd", "0", "5", "0", "0", "0"] in [line.split() for line in said.splitlines()]


def test_a_changed_file_changes_nothing_about_what_is_told(finished: Lab) -> None:
    before = finished.say("status", "s.toml")
    finished.file.write_text("no TOML at all [")
    assert finished.say("status", "s.toml") == before


def test_status_of_an_empty_ledger_says_so(lab: Lab) -> None:
    assert lab.say("status") == "The ledger has no study yet.\n"


def test_a_misspelt_study_is_answered_with_the_nearest(finished: Lab) -> None:
    for command in ("status", "stop", "sync"):
        assert "has no study 'ss'. Did you mean 's'?" in finished.refusal(command, "ss")
    assert "has no study 's@smoke'" in finished.refusal("status", "s.toml", "--preset", "smoke")


def test_status_counts_failures_and_divergence_as_the_conductor_does(finished: Lab) -> None:
    seed = next(job for job in finished.trainings() if job.purpose == "confirm")
    trial = min(
        (job for job in finished.trainings() if (job.purpose, job.variant) == ("search", seed.variant)),
        key=lambda job: finished.ledger.state(job.run.id).result.validation["war"],  # one that was not chosen
    )
    for job in (trial, seed):
        path = finished.folder_of(job) / "result.json"
        content = json.loads(path.read_bytes()) | {"status": "diverged"}
        path.write_text(json.dumps(content) + "\n")
    finished.ledger = Ledger(finished.ledger.root)
    counts = finished.status().counts
    assert (counts.done, counts.failed) == (9, 1), "a diverged trial is a result, a diverged seed is none"
    assert "--retry-failed" in finished.say("status", "s")


def test_seeds_that_a_failed_search_will_never_begin_are_not_waited_for(lab: Lab) -> None:
    lab.run(tasks=0)
    while waiting := [job for job in lab.trainings() if not lab.ledger.state(job.run.id).final]:
        for job in waiting:
            write(lab.folder_of(job) / "failure.json", to_json(Failure(job.run.id, "train", "no", "")))
        lab.run(tasks=0)
    seen = lab.status()
    assert (seen.counts.failed, seen.counts.waiting) == (10, 0)
    assert seen.seconds_left == 0


def test_pruned_trials_are_told_apart(lab: Lab) -> None:
    lab.file.write_text(STUDY.replace("trials = 3", 'trials = 12\npruner = "halving"'))
    lab.run()
    counts = lab.status().counts
    stopped = [job for job in lab.trainings() if list(lab.folder_of(job).glob("stopped-*.json"))]
    assert counts.pruned == len(stopped) > 0
    assert counts.done == counts.total - counts.pruned


def test_time_left_is_that_of_the_variants_own_trainings_shared_among_the_workers(finished: Lab) -> None:
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 4"))
    finished.run(tasks=0)
    for job in finished.trainings():
        if finished.ledger.state(job.run.id).final:
            own = 100.0 if job.variant == "issm" else 10.0
            timed(finished, job, own if job.purpose == "confirm" else 7.0)
    finished.ledger.log_session("s", 0, {"workers": 2})
    assert finished.status().seconds_left == (2 * 100 + 2 * 10) / 2
    finished.ledger.log_session("s", 1, {"workers": 11})
    assert finished.status().seconds_left == pytest.approx(220 / 11)


def test_time_left_of_what_runs_counts_the_epochs_that_are_done(finished: Lab) -> None:
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 3"))
    finished.run(tasks=0)
    for job in finished.trainings():
        if finished.ledger.state(job.run.id).final:
            timed(finished, job, 40.0)
        else:
            epochs = [vars(fake.Epoch(1, 1.0, 1e-3, {}, 9.0))]
            write(finished.folder_of(job) / "history.json", json.dumps(epochs))
            assert finished.ledger.claim(finished.folder_of(job)) is None
    finished.ledger.log_session("s", 0, {"workers": 8})
    assert finished.status().counts.running == 2
    assert finished.status().seconds_left == 30, "no less than the longest of them, however many workers"
    finished.ledger.release_all()


def test_status_needs_neither_torch_nor_mlflow_nor_matplotlib(finished: Lab) -> None:
    code = (
        "import sys; from study.cli.app import app; app(['status', 's'], standalone_mode=False);"
        "sys.exit(bool({'torch', 'mlflow', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gc.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


def test_status_watches_for_as_long_as_somebody_runs_the_study(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab.run(tasks=1)
    monkeypatch.setattr(commands, "LOOK_AGAIN_S", 0.0)
    looks = []

    def look(ledger: Ledger, name: str | None):
        seen = real(ledger, name)
        looks.append(seen[0].holder)
        if len(looks) == 3:
            held.__exit__(None, None, None)
        return seen

    real = commands._look
    monkeypatch.setattr(commands, "_look", look)
    held = lab.ledger.hold("s")
    held.__enter__()
    with (tmp_path / "screen").open("w") as screen:
        commands._watch(lab.ledger, "s", Console(file=screen, force_terminal=True, width=100))
    assert [holder is None for holder in looks] == [False, False, False, True]


# stop


def test_stopping_what_nobody_runs_leaves_nothing_that_stops_the_next_run(finished: Lab) -> None:
    assert finished.say("stop", "s") == "s: nobody runs it.\n"
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 3"))
    assert sum(isinstance(event, Started) and event.job.kind == "train" for event in finished.run()) == 2


def test_a_study_that_is_asked_to_stop_ends_and_stop_waits_for_it(lab: Lab) -> None:
    lab.run(tasks=1)
    begun = threading.Event()

    def hold() -> None:
        with lab.ledger.hold("s"):
            begun.set()
            while not lab.ledger.is_asked_to_stop("s"):
                time.sleep(0.01)

    running = threading.Thread(target=hold)
    running.start()
    begun.wait()
    said = lab.say("stop", "s", "--wait")
    running.join()
    assert "is asked to stop" in said
    assert "it has ended" in said
    assert lab.ledger.holder("s") is None


# gc


def reasons(found: list[gc.Reclaimable]) -> dict[str, int]:
    told = [spare.reason for spare in found]
    return {reason: told.count(reason) for reason in dict.fromkeys(told)}


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def old(path: Path) -> Path:
    os.utime(path, (time.time() - 7200,) * 2)
    return path


def test_nothing_is_freed_that_a_report_or_a_resumed_study_reads(finished: Lab) -> None:
    before = files(finished.folder / "reports")
    assert not [event for event in finished.run(write=None) if isinstance(event, Started)]
    assert files(finished.folder / "reports") == before, "a project that is copied is the same one"
    for job in finished.trainings():
        write(finished.folder_of(job) / "checkpoint.pt", b"as a crash between result and removal leaves it")
        old(write_aside(finished.folder_of(job)))
    said = finished.say("gc", "--unreferenced", "--yes")
    assert "checkpoints of runs that are finished" in said
    assert "weights and predictions of search trials" in said
    assert not list(finished.folder.rglob("checkpoint.pt"))
    assert not [path for path in finished.folder.rglob(".*.*") if path.is_file()]
    finished.say("report", "s.toml")
    assert files(finished.folder / "reports") == before
    finished.ledger = Ledger(finished.ledger.root)
    assert not [event for event in finished.run(write=None) if isinstance(event, Started)]
    assert files(finished.folder / "reports") == before
    assert finished.say("gc").endswith("nothing to free.\n")


def write_aside(folder: Path) -> Path:
    aside = folder / ".result.json.a1b_2c3d"
    aside.write_bytes(b"{")
    return aside


def test_confirmed_runs_keep_their_weights_and_trials_keep_none(finished: Lab) -> None:
    finished.say("gc", "--yes")
    for job in finished.trainings():
        for name in ("weights.safetensors", "validation.npz"):
            assert (finished.folder_of(job) / name).is_file() == (job.purpose == "confirm")


def test_keep_all_keeps_the_weights_of_trials(finished: Lab) -> None:
    (finished.folder / "study.toml").write_text('mlflow = "off"\nkeep = "all"\n')
    assert finished.say("gc").endswith("nothing to free.\n")


def test_what_is_shown_is_not_freed_without_being_told_to(finished: Lab) -> None:
    before = files(finished.ledger.root)
    said = finished.say("gc")
    assert "--yes frees it" in said
    assert files(finished.ledger.root) == before
    size = sum(
        (finished.folder_of(j) / name).stat().st_size
        for j in finished.trainings()
        if j.purpose == "search"
        for name in ("weights.safetensors", "validation.npz")
    )
    assert said.splitlines()[1].split()[-3:] == ["12", str(size), "B"]


def test_runs_that_no_study_refers_to_go_only_where_that_is_asked_for(finished: Lab) -> None:
    finished.file.write_text(STUDY.replace("repetitions = 2", "repetitions = 1"))
    finished.run()
    assert "no study refers" not in finished.say("gc")
    finished.say("gc", "--unreferenced", "--yes")
    finished.ledger = Ledger(finished.ledger.root)
    assert len(list((finished.ledger.root / "runs").iterdir())) == 2 * (3 + 1)
    assert finished.status().counts.done == 8


def test_nothing_of_a_held_study_or_a_claimed_run_is_touched(finished: Lab) -> None:
    before = files(finished.ledger.root)
    with finished.ledger.hold("s"):
        assert finished.say("gc", "--unreferenced", "--yes").endswith("nothing to free.\n")
    assert files(finished.ledger.root) == before
    trial = next(job for job in finished.trainings() if job.purpose == "search")
    assert finished.ledger.claim(finished.folder_of(trial)) is None
    finished.say("gc", "--yes")
    assert (finished.folder_of(trial) / "weights.safetensors").is_file()
    finished.ledger.release(finished.folder_of(trial))


def test_what_comes_into_use_after_it_was_shown_is_left(finished: Lab) -> None:
    shown = gc.reclaimable(finished.ledger)
    trial = finished.folder_of(next(job for job in finished.trainings() if job.purpose == "search"))
    holder = f"elsewhere {os.getpid()} x"
    write(trial / "claim", holder)
    freed = gc.free(shown, finished.ledger)
    assert len(shown) - len(freed) == 2
    assert (trial / "weights.safetensors").is_file()
    assert (trial / "claim").read_text() == holder


def test_an_unfinished_training_keeps_its_checkpoint(lab: Lab) -> None:
    lab.run(tasks=1)
    waiting = next(job for job in lab.trainings() if not lab.ledger.state(job.run.id).final)
    write(lab.folder_of(waiting) / "checkpoint.pt", b"[]")
    lab.say("gc", "--yes")
    assert (lab.folder_of(waiting) / "checkpoint.pt").is_file()


def test_checkpoints_of_pruned_trials_go_and_their_study_resumes_without_them(lab: Lab) -> None:
    lab.file.write_text(STUDY.replace("trials = 3", 'trials = 12\npruner = "halving"'))
    lab.run()
    assert list(lab.ledger.root.rglob("checkpoint.pt"))
    assert "checkpoints of trials that were pruned" in lab.say("gc", "--yes")
    assert not list(lab.ledger.root.rglob("checkpoint.pt"))
    assert not [event for event in lab.run() if isinstance(event, Started)]


def test_locks_and_claims_of_the_dead_go_and_those_of_the_living_stay(finished: Lab) -> None:
    trial = finished.folder_of(finished.trainings()[0])
    dead, living = trial / "claim", finished.ledger.root / "studies" / "s" / "lock"
    write(dead, f"{os.uname().nodename} {GONE} x")
    write(living, f"another-host {GONE} x")
    assert reasons(gc.reclaimable(finished.ledger)) == {}, "the study is held, so nothing of it is listed"
    write(living, f"{os.uname().nodename} {GONE} x")
    assert reasons(gc.reclaimable(finished.ledger))["locks and claims of processes that are gone"] == 2
    finished.say("gc", "--yes")
    assert not dead.exists()
    assert not living.exists()


def test_a_file_that_may_be_being_written_is_left(finished: Lab) -> None:
    young = write_aside(finished.folder_of(finished.trainings()[0]))
    finished.say("gc", "--yes")
    assert young.exists()


def test_the_files_that_are_freed_are_those_that_trainings_write() -> None:
    from study.ledger.store import CHECKPOINTS, OF_TRIALS
    from study.task import VALIDATION_PREDICTIONS
    from study.tasks.clips.task import ClipsTask
    from study.tasks.function import FunctionTask

    for task in (ClipsTask, FunctionTask):
        assert task.checkpoint_name in CHECKPOINTS
        assert {task.weights_name, VALIDATION_PREDICTIONS} <= set(OF_TRIALS)


# --skip-bad


@pytest.mark.parametrize("command", ["run", "plan", "report"])
def test_clips_that_are_drawn_cannot_be_skipped(lab: Lab, command: str) -> None:
    assert "'faces' are not read from recorded files" in lab.refusal(command, "s.toml", "--skip-bad")
    assert not lab.ledger.root.exists()


def test_skipping_names_the_same_study_as_its_setting(lab: Lab) -> None:
    from study.cli.context import SKIPPING, with_skipping
    from study.config.study import name_of

    lab.file.unlink()  # a report is written from the ledger, with or without the file
    changes = with_skipping(True, lab.file, None, ["train.epochs=2"])
    assert name_of(lab.file, None, changes) == name_of(lab.file, None, [SKIPPING, "train.epochs=2"])
    assert with_skipping(True, lab.file, None, changes) == changes
