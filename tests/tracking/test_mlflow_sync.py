"""A study mirrored by a real conductor and rebuilt from the ledger, with a trainer that trains nothing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.mirror_store import MirrorStore, study_record
from typer.testing import CliRunner

from study.cli.app import app
from study.config.compile import compile_study
from study.config.settings import settings
from study.config.study import load
from study.engine import conductor, plan
from study.engine.jobs import TARGETS
from study.errors import InputError, StudyError
from study.executors.base import Call
from study.executors.inprocess import InProcess
from study.ledger.store import Ledger
from study.records import Failure
from study.tracking.mlflow import mirror, sync
from study.tracking.mlflow_values import NOTE
from study.tracking.replay import replay

FAKE = {kind: f"study.testing.fake:{kind}" for kind in TARGETS}

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

    def __init__(self, store: MirrorStore) -> None:
        self.store = replace(store, study="s")
        self.folder = store.folder / "lab"
        self.folder.mkdir()
        (self.folder / "s.toml").write_text(TOML)
        self.ledger = Ledger(self.folder / "ledger")

    def run(self, tasks: int = 1000, mirrored: bool = True) -> None:
        """Carry the study out, mirrored, as `study run` does; Ctrl-C after so many tasks."""
        record = compile_study(load(self.folder / "s.toml"), settings(self.folder), "cpu")
        tracking = self.store.mirror(record) if mirrored else mirror("off", self.folder, record)
        with tracking as tracker, contextlib.suppress(KeyboardInterrupt):
            conductor.run(
                record, self.ledger, InterruptedExecutor(tasks), self.folder / "reports", tracker, FAKE
            )

    def sync(self) -> None:
        with tempfile.TemporaryDirectory() as report:
            record = self.ledger.study("s")
            events = replay(record, self.ledger, Path(report), {})
            sync(self.store.uri, self.store.folder / "art @ 1#", record, events)

    def pages(self) -> dict[str, Any]:
        """All that the store shows, but for when it was written and how long it took."""
        experiment = self.store.client.get_experiment_by_name("s")
        found = self.store.client.search_runs([experiment.experiment_id], max_results=1000)
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
                    (p.step, p.value) for p in self.store.client.get_metric_history(run.info.run_id, key)
                )
                for key in run.data.metrics
                if "seconds" not in key
            }
            files = sorted(f.path for f in self.store.client.list_artifacts(run.info.run_id))
            key = run.info.run_name
            assert key not in pages, "a run has two pages"
            pages[key] = run.info.status, tags, metrics, run.data.params, files
        return pages

    def dump(self) -> list[str]:
        with sqlite3.connect(self.store.folder / "mlflow.db") as connection:
            return sorted(connection.iterdump())

    def wipe(self, template: sqlite3.Connection) -> None:
        for name in ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm"):
            (self.store.folder / name).unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.store.folder / "mlflow.db")) as copy:
            template.backup(copy)


class InterruptedExecutor(InProcess):
    """Runs a number of jobs, then raises KeyboardInterrupt."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self._left = tasks

    def submit(self, call: Call) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        super().submit(call)


@pytest.fixture
def lab(store: MirrorStore) -> Lab:
    return Lab(store)


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
            if job.state_in(lab.ledger.state).result
        ),
        key=lambda job: job.number,
    )
    (lab.ledger.run_folder(last.run) / "result.json").unlink()  # killed after its last epoch
    assert last.repetition is not None
    cut = f"{last.variant} · repetition {last.repetition + 1} · trial {last.number + 1}"
    lab.ledger = Ledger(lab.ledger.root)
    lab.sync()
    half = lab.pages()
    assert half[cut][0] == "KILLED"
    assert len(half[cut][2]["learning_rate"]) == 4
    lab.wipe(template)
    lab.sync()
    assert lab.pages() == half

    client = lab.store.client
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
    lab.ledger.save_failure(folder, Failure(trial.run.id, "train", "out of luck", "Traceback"))
    lab.ledger = Ledger(lab.ledger.root)
    lab.wipe(template)
    lab.sync()
    status, tags, metrics, *_ = lab.pages()[f"{trial.variant} · repetition 1 · trial 1"]
    assert (status, tags["study.failure"], len(metrics["learning_rate"])) == ("FAILED", "out of luck", 4)


def test_the_command_leaves_a_study_that_runs_to_its_conductor(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.run(tasks=3, mirrored=False)
    (lab.folder / "study.toml").write_text(f'ledger = "ledger"\nmlflow = "{lab.store.uri}"\n')
    monkeypatch.chdir(lab.folder)
    with lab.ledger.hold("s"):
        result = CliRunner().invoke(app, ["sync"], catch_exceptions=False)
        assert (result.exit_code, result.output.startswith("s: skipped; process")) == (0, True)
        with pytest.raises(StudyError, match=f"process {os.getpid()} "):
            CliRunner().invoke(app, ["sync", "s"], catch_exceptions=False)
    result = CliRunner().invoke(app, ["sync"], catch_exceptions=False)
    assert (result.exit_code, result.output.splitlines()[-1].partition(":")[0]) == (0, "s")
    assert {status for status, *_ in list(lab.pages().values())[1:]} == {"FINISHED", "KILLED"}
    assert not (lab.folder / "reports").exists(), "reports are written when somebody asks for them"


def test_a_store_that_cannot_be_reached_is_one_line(lab: Lab) -> None:
    lab.run(tasks=1)
    (lab.folder / "file").write_text("in the way")
    with pytest.raises(StudyError, match="ledger is unchanged"):
        sync(f"sqlite:///{lab.folder}/file/x.db", lab.folder, study_record("s"), [])
    with pytest.raises(InputError, match="mlflow: is 'off'"):
        sync("off", lab.folder, study_record("s"), [])
