"""The events of a study mirrored into MLflow."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from support.mirror_store import MirrorStore, study_record

from study.analysis.described import Choice, Interval, RepetitionScore
from study.analysis.findings import Difference, Findings, VariantFinding
from study.engine.events import (
    EpochEnded,
    Event,
    JobEnded,
    JobRetried,
    JobStarted,
    StudyConcluded,
    StudyStarted,
    TrainingFound,
)
from study.engine.jobs import TARGETS
from study.engine.plan import Job
from study.errors import InputError
from study.ledger.record import RunState, StudyRecord
from study.metrics import Metric
from study.records import Epoch, Failure, Machine, RunResult, RunSpec, Stopped
from study.tracking.mlflow import MlflowMirror, mirror, sync
from study.tracking.mlflow_store import ExperimentStore
from study.tracking.mlflow_ui import open_pages
from study.tracking.mlflow_values import NOTE

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}
BEGAN = StudyStarted(cast(StudyRecord, None), 0, 0)
MACHINE = Machine(versions={"torch": "2.15"}, hardware="CPU", platform="Linux")


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
SEED = Job("train", spec(11), "issm", "repetition", 0)
TRIAL = Job("train", spec(99), "issm", "search", 0)
TEST = replace(SEED, kind="evaluate")
DONE = RunState(result(SEED.run.id, *HISTORY))
FAILED = RunState(failure=Failure(SEED.run.id, "train", "worker died", "Traceback …"))
UNTESTED = replace(DONE, failure=Failure(SEED.run.id, "evaluate", "no test split", ""))


def mirror_a_repetition_and_a_trial(tracker: MlflowMirror) -> None:
    """Mirror a variant's repetition and trial from start to end: 12 events."""
    for job in (TRIAL, SEED):
        tracker(JobStarted(job))
    for each in HISTORY:
        tracker(EpochEnded(TRIAL, each))
        tracker(EpochEnded(SEED, each))
    tracker(JobEnded(TRIAL, RunState(result(TRIAL.run.id, *HISTORY))))
    tracker(JobEnded(SEED, DONE))
    tracker(JobStarted(TEST))
    tracker(JobEnded(TEST, replace(DONE, tested=True)))


def variant(name: str, difference: Difference | None, mean: float = 55.0, **chosen: Any) -> VariantFinding:
    runs = (SEED.run.id if name == "issm" else "r1-0", "r1-1", "r1-2")
    metrics = {"war": mean, "loss": float("inf")}
    repetitions = tuple(
        RepetitionScore(n, None, run, mean, metrics, mean, 2, 6.5) for n, run in enumerate(runs, 1)
    )
    return VariantFinding(
        name=name,
        reference=name if difference is None else "even-odd",
        levels={"splitter": name},
        score=Interval(mean, mean - 2.5, mean + 2.5),
        secondary={"uar": Interval(mean - 1, mean - 3.5, mean + 1.5)},
        repetitions=repetitions,
        planned=3,
        failures=(),
        difference=difference,
        parameters=1234,
        macs=10**6,
        train_seconds=6.5,
        chosen=(Choice(chosen),),
        trials=(),
        curves=(),
    )


def findings(mean: float = 58.0, **chosen: Any) -> Findings:
    gap = Interval(3.0, 1.0, 5.0)
    deciding = Interval(3.0, 0.5, 5.5)
    difference = Difference(
        gap, deciding, 3, 3.0, 0.01, 0.01, 1.2, 0.5, 0.0, 0.1, 0.9, "helps", "issm helps.", None
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


def test_seeds_and_trials_are_children_of_their_variant(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    runs = store.runs()
    assert set(runs) == {"issm", "issm · repetition 1", "issm · trial 1"}
    for name, purpose, run_id in (
        ("issm · repetition 1", "repetition", SEED.run.id),
        ("issm · trial 1", "search", TRIAL.run.id),
    ):
        tags = runs[name].data.tags
        assert tags["mlflow.parentRunId"] == runs["issm"].info.run_id
        assert tags["study.run"] == run_id
        assert tags["study.variant"] == "issm"
        assert tags["study.purpose"] == purpose
        assert tags["study.study"] == "issm@smoke"
        assert tags["study.status"] == "finished"
        assert runs[name].info.status == "FINISHED"
    assert "mlflow.parentRunId" not in runs["issm"].data.tags


def test_the_runs_table_is_what_the_ui_opens(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        tracker(BEGAN)
    experiment = store.client.get_experiment_by_name("issm@smoke")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_folds_have_runs_of_their_own(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        for fold in (1, 2):
            tracker(JobStarted(replace(SEED, run=spec(11, fold=fold))))
    assert set(store.runs()) == {"issm", "issm · repetition 1 · fold 1", "issm · repetition 1 · fold 2"}


def test_the_configuration_is_readable(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    parameters = store.runs()["issm · repetition 1"].data.params
    assert parameters["splitter.name"] == "issm"
    assert parameters["splitter.positions"] == "[1, 2]"
    assert parameters["train.lr"] == "0.001"
    assert parameters["dataset.classes ___"] == "7"
    assert parameters["seed"] == "11"
    assert len(parameters["train.note"]) == 6000
    whole = json.loads(store.artifact("issm · repetition 1", "configuration.json"))
    assert whole["config"] == SEED.run.config
    assert whole["run"] == SEED.run.id


def test_curves_and_figures_arrive(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    assert store.history("issm · repetition 1", "validation/war") == [(1, 40.0), (2, 60.0), (3, 55.0)]
    assert store.history("issm · repetition 1", "validation/recall/joy __100__") == [
        (1, 0.75),
        (2, 0.75),
        (3, 0.75),
    ]
    assert store.history("issm · trial 1", "train/loss") == [(1, 1.25), (2, 1.25), (3, 1.25)]
    metrics = store.runs()["issm · repetition 1"].data.metrics
    assert metrics["best_epoch"] == 2
    assert metrics["validation_best/war"] == 60.0
    assert metrics["parameters"] == 1234


def test_the_load_of_the_machine_is_on_the_page_of_system_metrics_while_a_training_runs(
    store: MirrorStore,
) -> None:
    load = {"cpu_utilization_percentage": 75.0, "gpu_0_memory_usage_megabytes": 1024.0}
    with store.mirror() as tracker:
        tracker(JobStarted(SEED))
        tracker(EpochEnded(SEED, replace(epoch(1), system=load)))
        tracker(EpochEnded(SEED, epoch(2)))
    for name, value in load.items():
        assert store.history("issm · repetition 1", f"system/{name}") == [(1, value)]


def test_infinities_are_no_points(store: MirrorStore) -> None:
    history = (epoch(1), epoch(2, loss=float("nan")), epoch(3, loss=float("-inf")))
    with store.mirror() as tracker:
        tracker(JobStarted(TRIAL))
        for each in history:
            tracker(EpochEnded(TRIAL, each))
        ended = replace(result(TRIAL.run.id, *history), status="diverged", validation={"loss": float("inf")})
        tracker(JobEnded(TRIAL, RunState(ended)))
    run = store.runs()["issm · trial 1"]
    assert store.history("issm · trial 1", "train/loss") == [(1, 1.25)]
    assert len(store.history("issm · trial 1", "learning_rate")) == 3
    assert "validation_best/loss" not in run.data.metrics
    assert run.data.tags["study.status"] == "diverged"


@pytest.mark.parametrize("name", ["../..", "a//b/", "..x", "", "x = [1]", "é/ß", "tab\tnewline\n", "z" * 400])
def test_odd_names_are_taken(store: MirrorStore, name: str) -> None:
    odd = replace(epoch(1), validation={name: 0.5})
    job = replace(SEED, run=replace(SEED.run, config={"splitter": {name: 17}}), variant=name or "v")
    with store.mirror() as tracker:
        tracker(EpochEnded(job, odd))
    run = next(run for run in store.runs().values() if run.data.tags["study.purpose"] == "repetition")
    assert 0.5 in run.data.metrics.values()
    assert "17" in run.data.params.values()


def test_mirroring_again_changes_nothing(store: MirrorStore, report: Path) -> None:
    def dump() -> list[str]:
        with sqlite3.connect(store.folder / "mlflow.db") as connection:
            return sorted(connection.iterdump())

    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
        tracker(StudyConcluded(findings(), report))
    before = dump()
    for _ in range(2):
        with store.mirror() as tracker:
            tracker(TrainingFound(TRIAL, RunState(result(TRIAL.run.id, *HISTORY))))
            tracker(TrainingFound(SEED, replace(DONE, tested=True)))
            tracker(StudyConcluded(findings(), report))
    assert dump() == before


def test_a_study_mirrored_twice_has_every_run_and_point_once(store: MirrorStore, report: Path) -> None:
    for _ in range(2):
        with store.mirror() as tracker:
            mirror_a_repetition_and_a_trial(tracker)
            mirror_a_repetition_and_a_trial(tracker)
            tracker(StudyConcluded(findings(), report))
    assert len(store.runs()) == 5
    with sqlite3.connect(store.folder / "mlflow.db") as connection:
        several = "SELECT key FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        assert connection.execute(several).fetchall() == []
    assert store.history("issm · repetition 1", "validation/war") == [(1, 40.0), (2, 60.0), (3, 55.0)]


def test_a_cached_run_brings_its_whole_history(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        tracker(TrainingFound(SEED, replace(DONE, tested=True)))
    assert store.history("issm · repetition 1", "validation/war") == [(1, 40.0), (2, 60.0), (3, 55.0)]


def test_a_run_left_open_by_a_killed_conductor_is_taken_up(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        tracker(JobStarted(SEED))
        tracker(EpochEnded(SEED, HISTORY[0]))
    killed = store.runs()["issm · repetition 1"]
    assert killed.info.status == "KILLED"
    assert killed.data.tags["study.status"] == "killed"
    store.client.update_run(killed.info.run_id, status="RUNNING")  # as a kill -9 leaves it
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    resumed = store.runs()["issm · repetition 1"]
    assert resumed.info.run_id == killed.info.run_id
    assert resumed.info.status == "FINISHED"
    assert store.history("issm · repetition 1", "validation/war") == [(1, 40.0), (2, 60.0), (3, 55.0)]


def test_a_run_left_open_is_not_running_for_ever(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        tracker(JobStarted(SEED))
    for run in store.runs().values():
        store.client.update_run(run.info.run_id, status="RUNNING")
    with store.mirror():
        pass
    assert {run.info.status for run in store.runs().values()} == {"RUNNING"}, (
        "a study that is refused says nothing"
    )
    with store.mirror() as tracker:
        tracker(BEGAN)
    assert {run.info.status for run in store.runs().values()} == {"KILLED"}


def test_a_failure_is_shown_and_a_retry_clears_it(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        tracker(JobStarted(SEED))
        tracker(EpochEnded(SEED, HISTORY[0]))
        tracker(JobEnded(SEED, FAILED))
    run = store.runs()["issm · repetition 1"]
    assert run.info.status == "FAILED"
    assert run.data.tags["study.failure"] == "worker died"
    assert store.artifact("issm · repetition 1", "failure.txt").decode() == "Traceback …"
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    run = store.runs()["issm · repetition 1"]
    assert run.info.status == "FINISHED"
    assert "study.failure" not in run.data.tags


def test_a_failed_evaluation_stays_failed_until_it_is_repeated(store: MirrorStore) -> None:
    for event in (JobEnded(TEST, UNTESTED), TrainingFound(SEED, UNTESTED)):
        with store.mirror() as tracker:
            tracker(event)
        assert store.runs()["issm · repetition 1"].info.status == "FAILED"
        assert store.history("issm · repetition 1", "validation_best/war") == [(0, 60.0)]
    with store.mirror() as tracker:
        tracker(JobEnded(TEST, replace(DONE, tested=True)))
    assert store.runs()["issm · repetition 1"].info.status == "FINISHED"


def test_a_network_being_counted_is_no_run(store: MirrorStore) -> None:
    count = replace(SEED, kind="profile", purpose="profile")
    with store.mirror() as tracker:
        tracker(JobStarted(count))
        tracker(JobEnded(count, DONE))
    assert store.runs() == {}


def test_conclusions_stand_at_the_summaries_and_the_report_beside_them(
    store: MirrorStore, report: Path
) -> None:
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
        tracker(StudyConcluded(findings(**{"train.lr": 0.003}), report))
    runs = store.runs()
    assert set(runs) == {"even-odd", "issm", "issm · repetition 1", "issm · trial 1", "report"}
    metrics = runs["issm"].data.metrics
    scores = {key: value for key, value in metrics.items() if "/war" in key}
    assert scores == {
        "test/war": 58.0,
        "difference/war": 3.0,
        "difference/war_low": 0.5,
        "difference/war_high": 5.5,
    }, "the interval that decides, and no other"
    assert metrics["test/uar"] == 57.0
    assert metrics["repetitions"] == 3
    assert (metrics["cost/parameters"], metrics["cost/macs"]) == (1234, 10**6)
    assert not any(key.startswith("difference") for key in runs["even-odd"].data.metrics)
    assert runs["issm · repetition 1"].data.metrics["test/war"] == 58.0
    assert "test/loss" not in runs["issm · repetition 1"].data.metrics
    assert runs["issm"].data.tags["verdict"] == "helps"
    assert runs["even-odd"].data.tags["verdict"] == "reference"
    assert runs["issm"].data.params == {"splitter": "issm"}
    assert runs["issm · repetition 1"].data.params["splitter"] == "issm"
    assert runs["issm"].data.tags["chosen.train.lr"] == "0.003"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert store.artifact("report", "report.md") == b"# ISSM\n"
    for name in ("report", "issm", "even-odd"):
        assert store.artifact(name, "figures/repetitions.png") == b"png"


def test_a_mean_of_fewer_seeds_than_planned_says_so_in_the_mirror(store: MirrorStore, report: Path) -> None:
    base = findings()
    reference, other = base.variants
    lacking = replace(other, planned=5, difference=None)
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
        tracker(StudyConcluded(replace(base, variants=(reference, lacking)), report))
    run = store.runs()["issm"]
    assert run.data.metrics["repetitions"] == 3
    assert run.data.tags["study.runs"] == "3 of 5"
    assert run.data.tags["verdict"] == "none"
    assert " 3 of 5 " in run.data.tags["mlflow.note.content"]


def test_a_later_conclusion_replaces_the_earlier_one(store: MirrorStore, report: Path) -> None:
    with store.mirror() as tracker:
        tracker(StudyConcluded(findings(58.0, **{"train.lr": 0.003}), report))
    with store.mirror() as tracker:
        tracker(StudyConcluded(findings(54.0, **{"train.decay": 0.1}), report))
    run = store.runs()["issm"]
    assert run.data.metrics["test/war"] == 54.0
    assert run.data.tags["chosen.train.decay"] == "0.1"
    assert "chosen.train.lr" not in run.data.tags


def test_an_experiment_deleted_in_the_ui_comes_back(store: MirrorStore) -> None:
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    store.client.delete_experiment(store.client.get_experiment_by_name(store.study).experiment_id)
    with store.mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    assert set(store.runs()) == {"issm", "issm · repetition 1", "issm · trial 1"}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("study")]


def test_a_store_that_cannot_be_written_costs_two_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with MlflowMirror(
        f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path / "artifacts", study_record()
    ) as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    first, last = warnings_of(caplog)
    assert f"{tmp_path}/file" in first
    assert last.startswith("12 of 12 events ")


def test_a_store_that_is_no_store_costs_two_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mlflow.db").write_text("no database " * 100)
    with MirrorStore(tmp_path).mirror() as tracker:
        mirror_a_repetition_and_a_trial(tracker)
    assert len(warnings_of(caplog)) == 2


def test_one_bad_event_loses_only_itself(store: MirrorStore, caplog: pytest.LogCaptureFixture) -> None:
    validation: Any = {"war": "high"}
    bad = replace(epoch(1), validation=validation)
    with store.mirror() as tracker:
        tracker(EpochEnded(SEED, bad))
        tracker(EpochEnded(SEED, bad))
        mirror_a_repetition_and_a_trial(tracker)
    first, last = warnings_of(caplog)
    assert str(store.folder) in first
    assert last.startswith("2 of 14 events")
    assert store.history("issm · repetition 1", "validation/war") == [(1, 40.0), (2, 60.0), (3, 55.0)]


def test_a_slow_store_blocks_neither_training_nor_the_exit(
    store: MirrorStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, release = threading.Event(), threading.Event()
    write = ExperimentStore.write

    def write_or_hang(store: ExperimentStore, now: int, event: Event) -> None:
        if isinstance(event, EpochEnded):
            stuck.set()
            release.wait()
        else:
            write(store, now, event)

    monkeypatch.setattr(ExperimentStore, "write", write_or_hang)
    with store.mirror(capacity=4, drain_seconds=0.2) as tracker:
        tracker(JobStarted(SEED))
        tracker(EpochEnded(SEED, epoch(1)))
        assert stuck.wait(30)
        for number in range(2, 20):
            tracker(EpochEnded(SEED, epoch(number)))
    first, last = warnings_of(caplog)
    release.set()
    assert "more events" in first
    assert last.startswith("19 of 20 events")


def test_switched_off_means_nothing_is_written(tmp_path: Path) -> None:
    with mirror("off", tmp_path, study_record()) as tracker:
        tracker(JobStarted(SEED))
    with pytest.raises(InputError, match="mlflow: is 'off'"):
        open_pages("off", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_new_store_appears_whole_and_quietly(
    first_mirror: tuple[Path, subprocess.CompletedProcess[str]], template: sqlite3.Connection
) -> None:
    folder, ended = first_mirror
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert {path.name for path in folder.iterdir()} == {"deep"}
    assert template.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ("first",) in template.execute("SELECT name FROM experiments").fetchall()


def test_a_busy_port_is_named(store: MirrorStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"\b{port} on 127\.0\.0\.1 "):
            open_pages(store.uri, store.folder, port=port)


def test_the_ui_of_a_mirror_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mlflow\.db: nothing"):
        open_pages(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_error_in_reading_the_events_is_not_blamed_on_the_store(store: MirrorStore) -> None:
    def broken() -> Iterator[Event]:
        yield TrainingFound(SEED, DONE)
        raise ValueError("of our own")

    with pytest.raises(ValueError, match="of our own"):
        sync(store.uri, store.folder, study_record("s"), broken())


def test_a_pruned_trial_is_shown_as_pruned_and_a_later_full_run_replaces_it(store: MirrorStore) -> None:
    stopped = Stopped(TRIAL.run.id, {"2": 0.9}, 2, 0.6, HISTORY[:2])
    with store.mirror() as tracker:
        tracker(JobStarted(TRIAL))
        tracker(JobEnded(TRIAL, RunState(pruned=stopped)))
    run = store.runs()["issm · trial 1"]
    assert (run.info.status, run.data.tags["study.status"]) == ("FINISHED", "pruned")
    assert run.data.metrics["pruned_after_epoch"] == 2
    assert store.history("issm · trial 1", "validation/war") == [(1, 40.0), (2, 60.0)]
    with store.mirror() as tracker:
        tracker(TrainingFound(TRIAL, RunState(result(TRIAL.run.id, *HISTORY))))
    run = store.runs()["issm · trial 1"]
    assert run.data.tags["study.status"] == "finished"
    assert store.history("issm · trial 1", "validation/war") == [(1, 40.0), (2, 60.0), (3, 55.0)]


def test_a_worker_that_died_is_shown_until_its_second_attempt_ends(store: MirrorStore) -> None:

    experiment = ExperimentStore(store.uri, store.folder, study_record())
    experiment.write(1, JobStarted(SEED))
    reason = "killed by SIGKILL"
    experiment.write(2, JobRetried(SEED, reason))
    assert store.runs()["issm · repetition 1"].data.tags["study.status"] == f"running again: {reason}"
    experiment.write(3, JobEnded(SEED, DONE))
    assert store.runs()["issm · repetition 1"].data.tags["study.status"] == "finished"


def test_many_parameters_and_long_histories_fit_into_what_a_store_takes_at_once(store: MirrorStore) -> None:
    many = replace(SEED, run=replace(SEED.run, config={"splitter": {f"p{n:03}": n for n in range(250)}}))
    history = tuple(epoch(number) for number in range(1, 301))
    with store.mirror() as tracker:
        tracker(TrainingFound(many, RunState(result(many.run.id, *history))))
    assert len(store.history("issm · repetition 1", "validation/war")) == 300
    assert sum(key.startswith("splitter.p") for key in store.runs()["issm · repetition 1"].data.params) == 250


def test_a_training_of_the_users_own_is_mirrored_with_what_it_reports(
    store: MirrorStore, report: Path
) -> None:
    """No loss, no learning rate, no parameters, keys that a request has too, a metric in its own unit."""
    own = RunSpec(
        {"seed": 7, "lr": 0.1, "model": {"depth": 2}}, 11, data_digest="", code_digest="c", task="function"
    )
    job = Job("train", own, "issm", "repetition", 0)
    history = tuple(
        Epoch(number, None, None, {"rmse": 2.0 / number}, 1.0, diagnostics={"lag": 0.5}) for number in (1, 2)
    )
    ended = RunState(RunResult(own.id, "finished", 2, {"rmse": 1.0}, history, None, 2.0, MACHINE))
    base = findings()
    metrics = (Metric("rmse", "RMSE", unit="mK", scale=1000.0, direction="minimize", high=None),)
    repetitions = (RepetitionScore(1, None, own.id, 1500.0, {"rmse": 1500.0, "other": 3.0}, 1000.0, 2, 2.0),)
    variants = (base.variants[0], replace(base.variants[1], repetitions=repetitions))
    concluded = StudyConcluded(replace(base, metric="rmse", metrics=metrics, variants=variants), report)
    for _ in range(2):
        with store.mirror(study_record(metric="rmse", metrics=metrics)) as tracker:
            tracker(TrainingFound(job, ended))
            tracker(concluded)
    run = store.runs()["issm · repetition 1"].data
    assert store.history("issm · repetition 1", "validation/rmse") == [(1, 2000.0), (2, 1000.0)]
    assert store.history("issm · repetition 1", "diagnostics/lag") == [(1, 0.5), (2, 0.5)]
    assert (run.metrics["test/rmse"], run.metrics["test/other"]) == (1500.0, 3.0)
    assert not {"train/loss", "learning_rate", "parameters"} & set(run.metrics)
    assert (run.params["seed"], run.params["run.seed"], run.params["model.depth"]) == ("7", "11", "2")
    assert "RMSE (mK)" in store.client.get_experiment_by_name(store.study).tags[NOTE]
