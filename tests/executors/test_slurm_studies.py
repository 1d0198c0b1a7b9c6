"""Whole studies on a cluster: the tables of local workers, and conductors that are jobs themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fake_slurm import VARIABLE, FakeSlurm
from support.text_report import write_text

import study
from study.engine.events import Event, JobEnded, JobPending, JobRetried
from study.errors import InputError
from study.ledger.store import Ledger

pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")

PATIENCE_S = 240.0
TRAINING = """
import json, os, time

def train(config, run):
    done = int(run.checkpoint.read_text()) if run.checkpoint.exists() else 0
    for epoch in range(done + 1, 4):
        time.sleep(float(os.environ.get("EPOCH_S", 0)))
        score = 0.5 + config["gain"] + run.seed % 97 / 1000 + epoch / 100
        run.checkpoint.write_text(str(epoch))
        run.report(epoch, acc=score)
    run.weights.write_text(json.dumps(score))

def test(config, run):
    return {"acc": json.loads(run.weights.read_text()) - 0.1}

if __name__ == "__main__":
    class Reported:
        seed = int(os.environ["STUDY_SEED"])
    score = 0.5 + json.load(open(os.environ["STUDY_CONFIG"]))["gain"] + Reported.seed % 97 / 1000
    with open(os.path.join(os.environ["STUDY_FOLDER"], "metrics.jsonl"), "a") as file:
        file.write(json.dumps({"epoch": 1, "acc": score}) + "\\n")
        file.write(json.dumps({"test": {"acc": score - 0.1}}) + "\\n")
"""
STUDY = """
title = "Gain"
question = "Does the gain help?"
repetitions = 2
[task]
{task}
metric = {{ name = "acc", label = "accuracy", unit = "%", scale = 100 }}
data_version = "1"
[base]
gain = 0.0
[design]
kind = "one-factor"
reference = {{ gain = 0.0 }}
[factors]
gain = [0.0, 0.05]
"""
FUNCTION = 'function = "training:train"\nevaluate = "training:test"\nresume = true'
COMMAND = 'command = ["python", "training.py"]\nreads_config = true'
QUICK = "query_s = 0.2\npoll_s = 0.1\ngather_s = 0.1\nvisible_s = 1\nsignal_s = 31"


def project(folder: Path, task: str = FUNCTION, scheduler: str = "local", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "training.py").write_text(TRAINING)
    (folder / "gain.toml").write_text(STUDY.format(task=task))
    (folder / "study.toml").write_text(
        f'device = "cpu"\nmlflow = "off"\nworkers = 2\n[engine.slurm]\nscheduler = "{scheduler}"\n{QUICK}\n{more}\n'
    )
    return folder / "gain.toml"


def findings(folder: Path) -> Any:
    """Return the findings without what is measured of time and place."""
    found = json.loads((folder / "reports" / "gain" / "findings.json").read_text())

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(below) for key, below in value.items() if not is_time(key)}
        return [timeless(below) for below in value] if isinstance(value, list) else value

    def is_time(key: str) -> bool:
        return key == "trained" or any(part in key for part in ("second", "time", "session", "workers"))

    return timeless(found)


def run(folder: Path, engine: str) -> list[Event]:
    events: list[Event] = []
    study.load(folder / "gain.toml", root=folder, engine=engine).run(listeners=[events.append])
    return events


@pytest.mark.parametrize("task", [FUNCTION, COMMAND], ids=["function", "command"])
def test_the_findings_are_those_of_local_workers(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.api.report_writer", lambda record, settings: write_text)
    tables = []
    for engine in ("local", "slurm"):
        project(tmp_path / engine, task)
        run(tmp_path / engine, engine)
        tables.append(findings(tmp_path / engine))
        sys.modules.pop("training", None)
        sys.path[:] = [path for path in sys.path if not path.startswith(str(tmp_path))]
    assert tables[0] == tables[1]
    assert "acc" in json.dumps(tables[0])


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    fake = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv(VARIABLE, str(fake.folder))
    monkeypatch.setenv("PATH", f"{fake.bin}{os.pathsep}{os.environ['PATH']}")
    yield fake
    fake.stop()


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "study", *arguments]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def until(is_so: Callable[[], bool], state: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, state()
        time.sleep(0.1)


def conductors(slurm: FakeSlurm) -> list[str]:
    """Return the states of the conductors' jobs, the oldest first."""
    return [job["state"] for job in slurm.jobs().values() if job["name"].startswith("study-conductor-")]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["signal", "node-fail"])
def test_a_detached_study_goes_on_after_its_conductors_end(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    monkeypatch.setenv("EPOCH_S", "3")
    folder = tmp_path / "project"
    project(folder, scheduler="slurm")
    started = command(folder, "run", "gain.toml", "--engine", "slurm", "--detach")
    assert started.returncode == 0, started.stderr
    first = next(iter(slurm.jobs()))
    assert first in started.stdout
    until(lambda: len(list(folder.rglob("*.epochs"))) >= 2, slurm.jobs)
    slurm.order(first, order)
    report = folder / "reports" / "gain" / "findings.json"
    until(report.exists, slurm.jobs)
    until(lambda: not {"RUNNING", "PENDING"} & set(slurm.states()), slurm.jobs)
    assert len(conductors(slurm)) >= 3
    assert conductors(slurm)[-1] == "CANCELLED by 1000"
    trainings = [job for job in slurm.jobs().values() if not job["name"].startswith("study-conductor-")]
    assert {job["state"] for job in trainings} == {"COMPLETED"}
    logs = list(folder.glob(".study/ledger/runs/*/log-*.txt"))
    assert len(logs) == len({log.parent for log in logs}) * 2, "each run was trained and tested once"


@pytest.mark.slow
def test_a_detached_study_ends_when_it_is_stopped(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCH_S", "20")
    folder = tmp_path / "project"
    project(folder, scheduler="slurm")
    assert command(folder, "run", "gain.toml", "--engine", "slurm", "--detach").returncode == 0
    until(lambda: len(list(folder.rglob("*.started"))) >= 1, slurm.jobs)
    status = command(folder, "status", "--json")
    assert json.loads(status.stdout.splitlines()[0])
    assert command(folder, "stop", "gain").returncode == 0
    until(lambda: not {"RUNNING", "PENDING"} & set(slurm.states()), slurm.jobs)
    assert not (folder / "reports" / "gain").exists()


def test_a_cancelled_and_a_waiting_job_are_reported_with_state_and_reason(
    slurm: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCH_S", "1")
    folder = tmp_path / "project"
    project(folder, scheduler="slurm")
    monkeypatch.setattr("study.api.report_writer", lambda record, settings: write_text)
    slurm.configure(hold="Priority")
    seen: list[Event] = []

    def listen(event: Event) -> None:
        seen.append(event)
        if isinstance(event, JobPending):
            slurm.configure(hold="")
            (id_, *_) = slurm.wait_for("RUNNING", patience_s=PATIENCE_S)
            slurm.order(id_, "cancel")

    study.load(folder / "gain.toml", root=folder, engine="slurm").run(listeners=[listen])
    pending = [event for event in seen if isinstance(event, JobPending)]
    assert "PENDING (Priority)" in pending[0].reason
    failures = [
        event.state.failure
        for event in seen
        if isinstance(event, JobEnded) and event.state.failure is not None
    ]
    assert len(failures) == 1
    assert "CANCELLED" in failures[0].reason
    assert not [event for event in seen if isinstance(event, JobRetried)]
    ledger = Ledger(folder / ".study" / "ledger")
    assert len(list(ledger.root.glob("runs/*/test.json"))) == 3


@pytest.mark.parametrize(
    ("settings", "device", "parts"),
    [
        ("", "cuda", ("engine.slurm.gres", "gpu:1")),
        ('gres = "gpu:1"', "cpu", ("device", "'cuda'")),
        ('partitoin = "a"', "cpu", ("engine.slurm.partitoin", "'partition'")),
        ("cpus = 0", "cpu", ("engine.slurm.cpus",)),
        ('time = "4h"', "cpu", ("engine.slurm.time", "4:00:00")),
        ('[engine.slurm.options]\n"--qos" = "x"', "cpu", ("engine.slurm.options.--qos",)),
    ],
)
def test_a_mistake_in_the_table_is_named_before_anything_is_submitted(
    slurm: FakeSlurm, tmp_path: Path, settings: str, device: str, parts: tuple[str, ...]
) -> None:
    folder = tmp_path / "project"
    project(folder, scheduler="slurm", more=settings)
    text = (folder / "study.toml").read_text().replace('device = "cpu"', f'device = "{device}"')
    (folder / "study.toml").write_text(text)
    with pytest.raises(InputError) as error:
        study.load(folder / "gain.toml", root=folder, engine="slurm").run(listeners=[])
    assert [part for part in parts if part not in str(error.value)] == []
    assert not slurm.jobs()


def test_detaching_needs_a_queue(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    project(folder)
    for engine in ("local", "slurm"):
        loaded = study.load(folder / "gain.toml", root=folder, engine=engine)
        with pytest.raises(InputError, match="--detach"):
            loaded.detach(["run", "gain.toml"])
