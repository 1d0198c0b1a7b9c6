from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from study.analysis.findings import Difference, Findings, Interval, RepetitionScore, VariantFinding
from study.cli.app import app
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor, plan
from study.engine.events import Began, Concluded, EpochEnded, Event, Found, JobEnded, Retried, Started
from study.engine.jobs import TARGETS
from study.engine.plan import Job
from study.errors import InputError, StudyError
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.ledger.record import RunState, StudyRecord
from study.ledger.store import Ledger
from study.metrics import Metric
from study.records import Epoch, Failure, Machine, RunResult, RunSpec, Stopped
from study.tracking.mlflow import NOTE, Mirror, mirror, sync, ui
from study.tracking.replay import replay

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
BEGAN = Began(cast(StudyRecord, None), 0, 0)
MACHINE = Machine(versions={"torch": "2.15"}, hardware="CPU", platform="Linux")


@pytest.fixture(scope="session")
def first_mirror(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A mirror where no store was before, in a process of its own: making a store takes seconds."""
    folder = tmp_path_factory.mktemp("first")
    code = (
        "import os, sys; from pathlib import Path; from study.tracking.mlflow import Mirror\n"
        "where = Path(sys.argv[1])\n"
        "assert 'mlflow' not in sys.modules\n"
        "from study.engine.events import Began\n"
        "with Mirror(f'sqlite:///{where}/deep/mlflow.db', where / 'artifacts', 'first') as tracker:\n"
        "    tracker(Began(None, 0, 0))\n"
        "assert os.environ['MLFLOW_DISABLE_TELEMETRY'] == 'true'\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code, str(folder)]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="session")
def template(first_mirror: tuple[Path, subprocess.CompletedProcess[str]]) -> sqlite3.Connection:
    return sqlite3.connect(first_mirror[0] / "deep" / "mlflow.db")


@dataclass
class Place:
    """Where one test's mirror writes."""

    folder: Path
    study: str = "issm@smoke"

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    def mirror(self, **options: Any) -> Mirror:
        return Mirror(self.uri, self.folder / "art @ 1#", self.study, **options)

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def runs(self) -> dict[str, Any]:
        """Every run by name; two of one name are a failure."""
        experiment = self.client.get_experiment_by_name(self.study)
        runs = list(self.client.search_runs([experiment.experiment_id], max_results=1000))
        assert len({run.info.run_name for run in runs}) == len(runs)
        return {run.info.run_name: run for run in runs}

    def history(self, name: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.runs()[name].info.run_id, metric)
        return sorted((point.step, point.value) for point in points)

    def artifact(self, name: str, path: str) -> bytes:
        run = self.runs()[name]
        return Path(self.client.download_artifacts(run.info.run_id, path)).read_bytes()


@pytest.fixture
def place(template: sqlite3.Connection, tmp_path: Path) -> Place:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as copy:
        template.backup(copy)
    return Place(tmp_path)


def spec(seed: int, splitter: str = "issm", **more: Any) -> RunSpec:
    config = {
        "splitter": {"name": splitter, "positions": [1, 2]},
        "train": {"lr": 1e-3, "epochs": 3, "note": "x" * 7000},
        "dataset": {"name": "faces", "classes (%)": "7"},
    }
    places = {"dataset.root": "/data"}
    return RunSpec(config, seed, data_digest="d0", code_digest="c0", local_paths=places, **more)


def epoch(number: int, war: float = 0.5, loss: float = 1.25) -> Epoch:
    validation = {"loss": 1.0, "war": war, "uar": war, "recall/joy [=100%]": 0.75}
    return Epoch(number, train_loss=loss, learning_rate=1e-3 / number, validation=validation, seconds=2.0)


def result(run: str, *history: Epoch, best: int = 2) -> RunResult:
    return RunResult(run, "finished", best, history[best - 1].validation, history, 1234, 6.5, MACHINE)


HISTORY = (epoch(1, 0.4), epoch(2, 0.6), epoch(3, 0.55))
SEED = Job("train", spec(11), "issm", "confirm", 0)
TRIAL = Job("train", spec(99), "issm", "search", 0)
TEST = replace(SEED, kind="evaluate")
DONE = RunState(result(SEED.run.id, *HISTORY))
FAILED = RunState(failure=Failure(SEED.run.id, "train", "worker died", "Traceback …"))
UNTESTED = replace(DONE, failure=Failure(SEED.run.id, "evaluate", "no test split", ""))


def tell_all(tracker: Mirror) -> None:
    """Tell of a variant's seed and trial from start to end: 12 events."""
    for job in (TRIAL, SEED):
        tracker(Started(job))
    for each in HISTORY:
        tracker(EpochEnded(TRIAL, each))
        tracker(EpochEnded(SEED, each))
    tracker(JobEnded(TRIAL, RunState(result(TRIAL.run.id, *HISTORY))))
    tracker(JobEnded(SEED, DONE))
    tracker(Started(TEST))
    tracker(JobEnded(TEST, replace(DONE, tested=True)))


def variant(name: str, difference: Difference | None, mean: float = 55.0, **chosen: Any) -> VariantFinding:
    runs = (SEED.run.id if name == "issm" else "r1-0", "r1-1", "r1-2")
    metrics = {"war": mean, "loss": float("inf")}
    repetitions = tuple(
        RepetitionScore(n, None, run, mean, metrics, mean, 2, 6.5) for n, run in enumerate(runs)
    )
    return VariantFinding(
        name=name,
        reference=name if difference is None else "even-odd",
        levels={"splitter": name},
        score=Interval(mean, mean - 2.5, mean + 2.5),
        secondary={},
        repetitions=repetitions,
        planned=3,
        failures=(),
        difference=difference,
        parameters=1234,
        macs=10**6,
        train_seconds=6.5,
        chosen=chosen,
        trials=(),
        curves=(),
    )


def findings(mean: float = 58.0, **chosen: Any) -> Findings:
    gap = Interval(3.0, 1.0, 5.0)
    difference = Difference(
        gap, gap, 3, 3.0, 0.01, 0.01, 1.2, 0.5, 0.0, 0.1, 0.9, "helps", "issm helps.", None
    )
    return Findings(
        name="issm@smoke",
        title="ISSM on and off",
        question="Does ISSM help?",
        answer="Yes.",
        metric="war",
        metrics=(Metric("war", "WAR"),),
        rope=1.0,
        alpha=0.05,
        comparisons=1,
        variants=(variant("even-odd", None), variant("issm", difference, mean, **chosen)),
        claims=(),
        limits=(),
        notes=(),
        facts={},
    )


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    (folder / "figures").mkdir(parents=True)
    (folder / "report.md").write_text("# ISSM\n")
    (folder / "figures" / "repetitions.png").write_bytes(b"png")
    return folder


def test_seeds_and_trials_are_children_of_their_variant(place: Place) -> None:
    with place.mirror() as tracker:
        tell_all(tracker)
    runs = place.runs()
    assert set(runs) == {"issm", "seed 1", "trial 1"}
    for name, purpose, run_id in (("seed 1", "confirm", SEED.run.id), ("trial 1", "search", TRIAL.run.id)):
        tags = runs[name].data.tags
        assert tags["mlflow.parentRunId"] == runs["issm"].info.run_id
        assert tags["study.run"] == run_id
        assert tags["study.variant"] == "issm"
        assert tags["study.purpose"] == purpose
        assert tags["study.study"] == "issm@smoke"
        assert tags["study.status"] == "finished"
        assert runs[name].info.status == "FINISHED"
    assert "mlflow.parentRunId" not in runs["issm"].data.tags


def test_the_runs_table_is_what_the_ui_opens(place: Place) -> None:
    with place.mirror() as tracker:
        tracker(BEGAN)
    experiment = place.client.get_experiment_by_name("issm@smoke")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_folds_are_told_apart(place: Place) -> None:
    with place.mirror() as tracker:
        for fold in (1, 2):
            tracker(Started(replace(SEED, run=spec(11, fold=fold))))
    assert set(place.runs()) == {"issm", "seed 1, fold 1", "seed 1, fold 2"}


def test_the_configuration_is_readable(place: Place) -> None:
    with place.mirror() as tracker:
        tell_all(tracker)
    parameters = place.runs()["seed 1"].data.params
    assert parameters["splitter.name"] == "issm"
    assert parameters["splitter.positions"] == "[1, 2]"
    assert parameters["train.lr"] == "0.001"
    assert parameters["dataset.classes ___"] == "7"
    assert parameters["seed"] == "11"
    assert len(parameters["train.note"]) == 6000
    whole = json.loads(place.artifact("seed 1", "configuration.json"))
    assert whole["config"] == SEED.run.config
    assert whole["run"] == SEED.run.id


def test_curves_and_figures_arrive(place: Place) -> None:
    with place.mirror() as tracker:
        tell_all(tracker)
    assert place.history("seed 1", "validation/war") == [(1, 0.4), (2, 0.6), (3, 0.55)]
    assert place.history("seed 1", "validation/recall/joy __100__") == [(1, 0.75), (2, 0.75), (3, 0.75)]
    assert place.history("trial 1", "train/loss") == [(1, 1.25), (2, 1.25), (3, 1.25)]
    metrics = place.runs()["seed 1"].data.metrics
    assert metrics["best_epoch"] == 2
    assert metrics["validation_best/war"] == 0.6
    assert metrics["parameters"] == 1234


def test_infinities_are_no_points(place: Place) -> None:
    history = (epoch(1), epoch(2, loss=float("nan")), epoch(3, loss=float("-inf")))
    with place.mirror() as tracker:
        tracker(Started(TRIAL))
        for each in history:
            tracker(EpochEnded(TRIAL, each))
        ended = replace(result(TRIAL.run.id, *history), status="diverged", validation={"loss": float("inf")})
        tracker(JobEnded(TRIAL, RunState(ended)))
    run = place.runs()["trial 1"]
    assert place.history("trial 1", "train/loss") == [(1, 1.25)]
    assert len(place.history("trial 1", "learning_rate")) == 3
    assert "validation_best/loss" not in run.data.metrics
    assert run.data.tags["study.status"] == "diverged"


@pytest.mark.parametrize("name", ["../..", "a//b/", "..x", "", "x = [1]", "é/ß", "tab\tnewline\n", "z" * 400])
def test_odd_names_are_taken(place: Place, name: str) -> None:
    odd = replace(epoch(1), validation={name: 0.5})
    job = replace(SEED, run=replace(SEED.run, config={"splitter": {name: 17}}), variant=name or "v")
    with place.mirror() as tracker:
        tracker(EpochEnded(job, odd))
    run = place.runs()["seed 1"]
    assert 0.5 in run.data.metrics.values()
    assert "17" in run.data.params.values()


def test_mirroring_again_changes_nothing(place: Place, report: Path) -> None:
    def dump() -> list[str]:
        with sqlite3.connect(place.folder / "mlflow.db") as connection:
            return sorted(connection.iterdump())

    with place.mirror() as tracker:
        tell_all(tracker)
        tracker(Concluded(findings(), report))
    before = dump()
    for _ in range(2):
        with place.mirror() as tracker:
            tracker(Found(TRIAL, RunState(result(TRIAL.run.id, *HISTORY))))
            tracker(Found(SEED, replace(DONE, tested=True)))
            tracker(Concluded(findings(), report))
    assert dump() == before


def test_a_study_told_twice_has_every_run_and_point_once(place: Place, report: Path) -> None:
    for _ in range(2):
        with place.mirror() as tracker:
            tell_all(tracker)
            tell_all(tracker)
            tracker(Concluded(findings(), report))
    assert len(place.runs()) == 5
    with sqlite3.connect(place.folder / "mlflow.db") as connection:
        several = "SELECT key FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        assert connection.execute(several).fetchall() == []
    assert place.history("seed 1", "validation/war") == [(1, 0.4), (2, 0.6), (3, 0.55)]


def test_a_cached_run_brings_its_whole_history(place: Place) -> None:
    with place.mirror() as tracker:
        tracker(Found(SEED, replace(DONE, tested=True)))
    assert place.history("seed 1", "validation/war") == [(1, 0.4), (2, 0.6), (3, 0.55)]


def test_a_run_left_open_by_a_killed_conductor_is_taken_up(place: Place) -> None:
    with place.mirror() as tracker:
        tracker(Started(SEED))
        tracker(EpochEnded(SEED, HISTORY[0]))
    killed = place.runs()["seed 1"]
    assert killed.info.status == "KILLED"
    assert killed.data.tags["study.status"] == "killed"
    place.client.update_run(killed.info.run_id, status="RUNNING")  # as a kill -9 leaves it
    with place.mirror() as tracker:
        tell_all(tracker)
    resumed = place.runs()["seed 1"]
    assert resumed.info.run_id == killed.info.run_id
    assert resumed.info.status == "FINISHED"
    assert place.history("seed 1", "validation/war") == [(1, 0.4), (2, 0.6), (3, 0.55)]


def test_a_run_left_open_is_not_running_for_ever(place: Place) -> None:
    with place.mirror() as tracker:
        tracker(Started(SEED))
    for run in place.runs().values():
        place.client.update_run(run.info.run_id, status="RUNNING")
    with place.mirror():
        pass
    assert {run.info.status for run in place.runs().values()} == {"RUNNING"}, (
        "a study that is refused says nothing"
    )
    with place.mirror() as tracker:
        tracker(BEGAN)
    assert {run.info.status for run in place.runs().values()} == {"KILLED"}


def test_a_failure_is_told_and_a_retry_clears_it(place: Place) -> None:
    with place.mirror() as tracker:
        tracker(Started(SEED))
        tracker(EpochEnded(SEED, HISTORY[0]))
        tracker(JobEnded(SEED, FAILED))
    run = place.runs()["seed 1"]
    assert run.info.status == "FAILED"
    assert run.data.tags["study.failure"] == "worker died"
    assert place.artifact("seed 1", "failure.txt").decode() == "Traceback …"
    with place.mirror() as tracker:
        tell_all(tracker)
    run = place.runs()["seed 1"]
    assert run.info.status == "FINISHED"
    assert "study.failure" not in run.data.tags


def test_a_failed_evaluation_stays_failed_until_it_is_repeated(place: Place) -> None:
    for event in (JobEnded(TEST, UNTESTED), Found(SEED, UNTESTED)):
        with place.mirror() as tracker:
            tracker(event)
        assert place.runs()["seed 1"].info.status == "FAILED"
        assert place.history("seed 1", "validation_best/war") == [(0, 0.6)]
    with place.mirror() as tracker:
        tracker(JobEnded(TEST, replace(DONE, tested=True)))
    assert place.runs()["seed 1"].info.status == "FINISHED"


def test_a_network_being_counted_is_no_run(place: Place) -> None:
    count = replace(SEED, kind="profile", purpose="profile")
    with place.mirror() as tracker:
        tracker(Started(count))
        tracker(JobEnded(count, DONE))
    assert place.runs() == {}


def test_conclusions_stand_at_the_summaries_and_the_report_beside_them(place: Place, report: Path) -> None:
    with place.mirror() as tracker:
        tell_all(tracker)
        tracker(Concluded(findings(**{"train.lr": 0.003}), report))
    runs = place.runs()
    assert set(runs) == {"even-odd", "issm", "seed 1", "trial 1", "report"}
    metrics = runs["issm"].data.metrics
    assert (metrics["mean"], metrics["interval_low"], metrics["interval_high"]) == (58.0, 55.5, 60.5)
    assert metrics["n"] == 3
    assert (metrics["difference"], metrics["difference_low"], metrics["difference_high"]) == (3.0, 1.0, 5.0)
    assert "difference" not in runs["even-odd"].data.metrics
    assert runs["seed 1"].data.metrics["test/war"] == 0.58
    assert "test/loss" not in runs["seed 1"].data.metrics
    assert runs["issm"].data.tags["study.verdict"] == "helps"
    assert runs["even-odd"].data.tags["study.verdict"] == "reference"
    assert runs["issm"].data.tags["chosen.train.lr"] == "0.003"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert place.artifact("report", "report.md") == b"# ISSM\n"
    assert place.artifact("report", "figures/repetitions.png") == b"png"


def test_a_mean_of_fewer_seeds_than_planned_says_so_in_the_mirror(place: Place, report: Path) -> None:
    told = findings()
    reference, other = told.variants
    lacking = replace(other, planned=5, difference=None)
    with place.mirror() as tracker:
        tell_all(tracker)
        tracker(Concluded(replace(told, variants=(reference, lacking)), report))
    run = place.runs()["issm"]
    assert (run.data.metrics["n"], run.data.metrics["planned"]) == (3, 5)
    assert run.data.tags["study.runs"] == "3 of 5"
    assert run.data.tags["study.verdict"] == "none"
    assert "Results of 3 of 5 confirmation runs" in run.data.tags["mlflow.note.content"]


def test_a_later_conclusion_replaces_the_earlier_one(place: Place, report: Path) -> None:
    with place.mirror() as tracker:
        tracker(Concluded(findings(58.0, **{"train.lr": 0.003}), report))
    with place.mirror() as tracker:
        tracker(Concluded(findings(54.0, **{"train.decay": 0.1}), report))
    run = place.runs()["issm"]
    assert run.data.metrics["mean"] == 54.0
    assert run.data.tags["chosen.train.decay"] == "0.1"
    assert "chosen.train.lr" not in run.data.tags


def test_an_experiment_deleted_in_the_ui_comes_back(place: Place) -> None:
    with place.mirror() as tracker:
        tell_all(tracker)
    place.client.delete_experiment(place.client.get_experiment_by_name(place.study).experiment_id)
    with place.mirror() as tracker:
        tell_all(tracker)
    assert set(place.runs()) == {"issm", "seed 1", "trial 1"}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("study")]


def test_a_store_that_cannot_be_written_costs_two_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with Mirror(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path / "artifacts", "issm") as tracker:
        tell_all(tracker)
    first, last = warnings_of(caplog)
    assert f"{tmp_path}/file" in first
    assert last.startswith("12 of 12 events did not reach MLflow")


def test_a_store_that_is_no_store_costs_two_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mlflow.db").write_text("no database " * 100)
    with Place(tmp_path).mirror() as tracker:
        tell_all(tracker)
    assert len(warnings_of(caplog)) == 2


def test_one_bad_event_loses_only_itself(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    bad: Any = replace(epoch(1), validation={"war": "high"})
    with place.mirror() as tracker:
        tracker(EpochEnded(SEED, bad))
        tracker(EpochEnded(SEED, bad))
        tell_all(tracker)
    first, last = warnings_of(caplog)
    assert "must be real number" in first
    assert last.startswith("2 of 14 events")
    assert place.history("seed 1", "validation/war") == [(1, 0.4), (2, 0.6), (3, 0.55)]


def test_a_slow_store_blocks_neither_training_nor_the_exit(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study.tracking import mlflow as tracking

    stuck, release = threading.Event(), threading.Event()

    def never(*_: object) -> None:
        stuck.set()
        release.wait()

    monkeypatch.setattr(tracking._Store, "_log_epochs", never)
    with place.mirror(capacity=4, drain_seconds=0.2) as tracker:
        tracker(Started(SEED))
        tracker(EpochEnded(SEED, epoch(1)))
        assert stuck.wait(30)
        for number in range(2, 20):
            tracker(EpochEnded(SEED, epoch(number)))
    first, last = warnings_of(caplog)
    release.set()
    assert "more events than it can take" in first
    assert last.startswith("19 of 20 events")


def test_switched_off_means_nothing_is_written(tmp_path: Path) -> None:
    with mirror("off", tmp_path, "issm") as tracker:
        tracker(Started(SEED))
    with pytest.raises(InputError, match="mlflow is 'off'"):
        ui("off", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_new_store_appears_whole_and_quietly(
    first_mirror: tuple[Path, subprocess.CompletedProcess[str]], template: sqlite3.Connection
) -> None:
    folder, ended = first_mirror
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert {path.name for path in folder.iterdir()} == {"deep"}
    assert template.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ("first",) in template.execute("SELECT name FROM experiments").fetchall()


def test_a_busy_port_is_named(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} on 127.0.0.1 cannot be used"):
            ui(place.uri, place.folder, port=port)


def test_the_ui_of_a_mirror_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing has been mirrored"):
        ui(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert not list(tmp_path.iterdir())


# A study carried out by a real conductor, with a trainer that trains nothing


TOML = """
title = "t"
question = "Does it?"
base.dataset = { name = "faces", train_clips = 70, validation_clips = 14, test_clips = 14 }
factors.splitter = ["even-odd", "issm"]
design = { kind = "one-factor", reference = { splitter = "even-odd" } }
train.epochs = 4
search.trials = 5
search.generation = 2
search.pruner = "halving"
search.space."train.lr" = { low = 1e-4, high = 1e-2, log = true }
repetitions = 2
"""


class Lab:
    """A study and its ledger beside a store."""

    def __init__(self, place: Place) -> None:
        self.place = replace(place, study="s")
        self.folder = place.folder / "lab"
        self.folder.mkdir()
        (self.folder / "s.toml").write_text(TOML)
        self.ledger = Ledger(self.folder / "ledger")

    def run(self, tasks: int = 1000, mirrored: bool = True) -> None:
        """Carry the study out, mirrored, as `study run` does; Ctrl-C after so many tasks."""
        record = compile_study(load(self.folder / "s.toml"), settings(self.folder), "cpu")
        tracking = self.place.mirror() if mirrored else mirror("off", self.folder, "s")
        with tracking as tracker, contextlib.suppress(KeyboardInterrupt):
            conductor.run(record, self.ledger, Some(tasks), self.folder / "reports", tracker, FAKE)

    def sync(self) -> None:
        with tempfile.TemporaryDirectory() as report:
            events = replay(self.ledger.study("s"), self.ledger, Path(report))
            sync(self.place.uri, self.place.folder / "art @ 1#", "s", events)

    def pages(self) -> dict[str, Any]:
        """All that the store shows, but for when it was written and how long it took."""
        experiment = self.place.client.get_experiment_by_name("s")
        found = self.place.client.search_runs([experiment.experiment_id], max_results=1000)
        names = {
            run.info.run_id: run.data.tags["study.variant"]
            for run in found
            if "study.variant" in run.data.tags
        }
        pages: dict[str, Any] = {"": experiment.tags[NOTE]}
        for run in found:
            tags = {
                key: names.get(value, value) for key, value in run.data.tags.items() if key != "mlflow.user"
            }
            metrics = {
                key: sorted(
                    (p.step, p.value) for p in self.place.client.get_metric_history(run.info.run_id, key)
                )
                for key in run.data.metrics
                if "seconds" not in key
            }
            files = sorted(f.path for f in self.place.client.list_artifacts(run.info.run_id))
            key = f"{tags.get('study.variant')} {run.info.run_name}"
            assert key not in pages, "a run has two pages"
            pages[key] = run.info.status, tags, metrics, run.data.params, files
        return pages

    def dump(self) -> list[str]:
        with sqlite3.connect(self.place.folder / "mlflow.db") as connection:
            return sorted(connection.iterdump())

    def wipe(self, template: sqlite3.Connection) -> None:
        for name in ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm"):
            (self.place.folder / name).unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.place.folder / "mlflow.db")) as copy:
            template.backup(copy)


class Some(InProcess):
    """Runs so many tasks; then Ctrl-C."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self._left = tasks

    def submit(self, call: Call) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        super().submit(call)


@pytest.fixture
def lab(place: Place) -> Lab:
    return Lab(place)


def test_a_finished_study_is_mirrored_live_as_it_is_rebuilt(lab: Lab, template: sqlite3.Connection) -> None:
    lab.run()
    live = lab.pages()
    assert {status for status, *_ in list(live.values())[1:]} == {"FINISHED"}
    assert {tags["study.status"] for _, tags, *_ in list(live.values())[1:]} == {"finished", "pruned"}
    lab.wipe(template)
    lab.sync()
    assert lab.pages() == live


def test_rebuilding_twice_changes_nothing(lab: Lab) -> None:
    lab.run(tasks=4)
    lab.sync()
    before = lab.dump()
    lab.sync()
    assert lab.dump() == before


def test_rebuilding_the_pages_of_a_finished_study_changes_nothing(lab: Lab) -> None:
    lab.run()
    before = lab.dump()
    lab.sync()
    assert lab.dump() == before


def test_whatever_became_of_the_store_the_pages_are_the_same(lab: Lab, template: sqlite3.Connection) -> None:
    lab.run(tasks=4)
    lab.run(tasks=5, mirrored=False)
    last = max(
        (
            job
            for job in plan.trainings(lab.ledger.study("s"), lab.ledger.state)
            if job.seen(lab.ledger.state).result
        ),
        key=lambda job: job.number,
    )
    (lab.ledger.run_folder(last.run) / "result.json").unlink()  # killed after its last epoch
    cut = f"{last.variant} {'seed' if last.purpose == 'confirm' else 'trial'} {last.number + 1}"
    lab.ledger = Ledger(lab.ledger.root)
    lab.sync()
    half = lab.pages()
    assert half[cut][0] == "KILLED"
    assert len(half[cut][2]["learning_rate"]) == 4
    lab.wipe(template)
    lab.sync()
    assert lab.pages() == half

    client = lab.place.client
    experiment = client.get_experiment_by_name("s").experiment_id
    for run in client.search_runs([experiment]):  # as a kill -9 leaves them
        if run.info.run_name == "issm" or half[cut][1]["study.run"] == run.data.tags.get("study.run"):
            client.update_run(run.info.run_id, status="RUNNING")
            client.set_tag(run.info.run_id, "study.status", "running")
    lab.sync()
    assert lab.pages() == half

    for run in client.search_runs([experiment])[::2]:
        client.delete_run(run.info.run_id)
    lab.sync()
    assert lab.pages() == half


def test_a_training_that_failed_half_way_keeps_its_curves(lab: Lab, template: sqlite3.Connection) -> None:
    lab.run(tasks=2)
    trial = next(plan.trainings(lab.ledger.study("s"), lab.ledger.state))
    folder = lab.ledger.run_folder(trial.run)
    (folder / "result.json").unlink()
    lab.ledger.fail(folder, Failure(trial.run.id, "train", "out of luck", "Traceback"))
    lab.ledger = Ledger(lab.ledger.root)
    lab.wipe(template)
    lab.sync()
    status, tags, metrics, *_ = lab.pages()[f"{trial.variant} trial 1"]
    assert (status, tags["study.failure"], len(metrics["learning_rate"])) == ("FAILED", "out of luck", 4)


def test_the_command_leaves_a_study_that_runs_to_its_conductor(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(tasks=3)
    (lab.folder / "study.toml").write_text(f'ledger = "ledger"\nmlflow = "{lab.place.uri}"\n')
    monkeypatch.chdir(lab.folder)
    with lab.ledger.hold("s"):
        said = CliRunner().invoke(app, ["sync"], catch_exceptions=False)
        assert (said.exit_code, said.output.startswith("s: left to process")) == (0, True)
        with pytest.raises(StudyError, match="is being run by process"):
            CliRunner().invoke(app, ["sync", "s"], catch_exceptions=False)
    said = CliRunner().invoke(app, ["sync"], catch_exceptions=False)
    assert said.output.endswith("s: its pages in MLflow tell what the ledger holds.\n")
    assert {status for status, *_ in list(lab.pages().values())[1:]} == {"FINISHED", "KILLED"}
    assert not (lab.folder / "reports").exists(), "reports are written when somebody asks for them"


def test_a_store_that_cannot_be_reached_is_one_line(lab: Lab) -> None:
    lab.run(tasks=1)
    (lab.folder / "file").write_text("in the way")
    with pytest.raises(StudyError, match="The ledger is as it was"):
        sync(f"sqlite:///{lab.folder}/file/x.db", lab.folder, "s", [])
    with pytest.raises(InputError, match="there is no mirror to rebuild"):
        sync("off", lab.folder, "s", [])


def test_a_mistake_in_the_telling_is_not_blamed_on_the_store(place: Place) -> None:
    def broken() -> Iterator[Event]:
        yield Found(SEED, DONE)
        raise ValueError("of our own")

    with pytest.raises(ValueError, match="of our own"):
        sync(place.uri, place.folder, "s", broken())


def test_a_pruned_trial_is_told_as_such_and_a_later_full_run_replaces_it(place: Place) -> None:
    stopped = Stopped(TRIAL.run.id, {"2": 0.9}, 2, 0.6, HISTORY[:2])
    with place.mirror() as tracker:
        tracker(Started(TRIAL))
        tracker(JobEnded(TRIAL, RunState(pruned=stopped)))
    run = place.runs()["trial 1"]
    assert (run.info.status, run.data.tags["study.status"]) == ("FINISHED", "pruned")
    assert run.data.metrics["pruned_after_epoch"] == 2
    assert place.history("trial 1", "validation/war") == [(1, 0.4), (2, 0.6)]
    with place.mirror() as tracker:
        tracker(Found(TRIAL, RunState(result(TRIAL.run.id, *HISTORY))))
    run = place.runs()["trial 1"]
    assert run.data.tags["study.status"] == "finished"
    assert place.history("trial 1", "validation/war") == [(1, 0.4), (2, 0.6), (3, 0.55)]


def test_a_worker_that_died_is_told_until_its_second_attempt_ends(place: Place) -> None:
    from study.tracking.mlflow import _Store

    store = _Store(place.uri, place.folder, place.study)
    store.take(1, Started(SEED))
    store.take(2, Retried(SEED, "killed by SIGKILL"))
    assert place.runs()["seed 1"].data.tags["study.status"] == "running again: killed by SIGKILL"
    store.take(3, JobEnded(SEED, DONE))
    assert place.runs()["seed 1"].data.tags["study.status"] == "finished"


def test_many_parameters_and_long_histories_fit_into_what_a_store_takes_at_once(place: Place) -> None:
    many = replace(SEED, run=replace(SEED.run, config={"splitter": {f"p{n:03}": n for n in range(250)}}))
    history = tuple(epoch(number) for number in range(1, 301))
    with place.mirror() as tracker:
        tracker(Found(many, RunState(result(many.run.id, *history))))
    assert len(place.history("seed 1", "validation/war")) == 300
    assert sum(key.startswith("splitter.p") for key in place.runs()["seed 1"].data.params) == 250


def test_a_training_of_the_users_own_is_mirrored_with_what_it_reports(place: Place, report: Path) -> None:
    """No loss, no learning rate, no parameters, keys that a request has too, a metric in its own unit."""
    own = RunSpec(
        {"seed": 7, "lr": 0.1, "model": {"depth": 2}}, 11, data_digest="", code_digest="c", task="function"
    )
    job = Job("train", own, "issm", "confirm", 0)
    history = tuple(
        Epoch(number, None, None, {"rmse": 2.0 / number}, 1.0, diagnostics={"lag": 0.5}) for number in (1, 2)
    )
    ended = RunState(RunResult(own.id, "finished", 2, {"rmse": 1.0}, history, None, 2.0, MACHINE))
    told = findings()
    metrics = (Metric("rmse", "RMSE", unit="mK", scale=1000.0, direction="minimize", high=None),)
    repetitions = (RepetitionScore(1, None, own.id, 1500.0, {"rmse": 1500.0, "other": 3.0}, 1000.0, 2, 2.0),)
    variants = (told.variants[0], replace(told.variants[1], repetitions=repetitions))
    concluded = Concluded(replace(told, metric="rmse", metrics=metrics, variants=variants), report)
    for _ in range(2):
        with place.mirror() as tracker:
            tracker(Found(job, ended))
            tracker(concluded)
    run = place.runs()["seed 1"].data
    assert place.history("seed 1", "validation/rmse") == [(1, 2.0), (2, 1.0)]
    assert place.history("seed 1", "diagnostics/lag") == [(1, 0.5), (2, 0.5)]
    assert (run.metrics["test/rmse"], run.metrics["test/other"]) == (1.5, 3.0)
    assert not {"train/loss", "learning_rate", "parameters"} & set(run.metrics)
    assert (run.params["seed"], run.params["run.seed"], run.params["model.depth"]) == ("7", "11", "2")
    assert "RMSE (mK)" in place.client.get_experiment_by_name(place.study).tags[NOTE]
