"""Calls on the machines of a Ray cluster: what they get, and what is left when a machine is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.conductors import timeless

import study
from study.engine.events import EpochEnded, Event, JobEnded, JobRetried
from study.errors import InputError
from study.executors.base import Work
from study.executors.ray_cluster import Ray
from study.testing.executors import CHECKS, Check, a_killed_conductor_is_followed_by_another

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ablation-study[ray]'")

EPOCHS = 8
LONG = (a_killed_conductor_is_followed_by_another,)

TRAINING = """
import random, time

def train(config, run):
    draw = random.Random(run.seed)
    for epoch in range(1, 9):
        time.sleep(0.4)
        run.report(epoch, acc=0.5 + 0.1 * config["on"] + 0.02 * draw.random())
    run.weights.write_text(str(draw.random()))

def test(config, run):
    return {"acc": 0.5 + 0.1 * config["on"] + 0.02 * float(run.weights.read_text())}
"""
STUDY = """
title = "Function"
question = "Does it help?"
repetitions = 4
[task]
function = "ray_lab:train"
evaluate = "ray_lab:test"
metric = "acc"
[base]
on = false
[factors]
on = [false, true]
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def address(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEST_RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    found: str = cluster.address
    return found


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=pytest.mark.slow if check in LONG else (), id=check.__name__)
        for check in CHECKS
    ],
)
def test_a_cluster_of_two_machines(check: Check, address: str, tmp_path: Path) -> None:
    check("support.ray_executors:on_the_cluster", tmp_path)


@pytest.mark.parametrize(
    ("engine", "device", "parts"),
    [
        (Ray(cpus=3), "cpu", ("each run needs 3 CPUs", "has 1 CPUs")),
        (Ray(gpus=0.5), "cuda", ("1 CPUs and 0.5 GPUs", "has 1 CPUs")),
        (Ray(), "cuda", ("1 CPUs and 2 GPUs", "has 1 CPUs")),
        (Ray(gpus=1), "cpu", ("engine.ray.gpus", "device = 'cuda'")),
    ],
)
def test_what_no_machine_has_is_named_before_anything_starts(
    address: str, tmp_path: Path, engine: Ray, device: Any, parts: tuple[str, ...]
) -> None:
    work = Work("s", tmp_path, tmp_path / "ledger", device, gpus=2 if device == "cuda" else 0)
    with pytest.raises(InputError) as error:
        Ray(address, engine.cpus, engine.gpus).executor(work)
    assert [part for part in parts if part not in str(error.value)] == []
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:x", "ray://127.0.0.1:10001"])
def test_an_address_without_a_cluster_is_a_mistake(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match=rf"--ray-address.*{address}"):
        Ray(address).executor(Work("s", tmp_path, tmp_path / "ledger"))


def test_a_machine_without_the_ledger_is_named_before_the_first_run(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.executors.shared._python", lambda: "2.7")
    with pytest.raises(InputError) as error:
        Ray(address).executor(Work("s", tmp_path, tmp_path / "ledger"))
    assert str(error.value).count("this machine 2.7") == 2, "both machines are named"


@pytest.mark.slow
def test_two_machines_are_lost_in_the_middle_of_a_study_and_its_tables_are_those_of_one_machine(
    tmp_path: Path,
) -> None:
    from ray.cluster_utils import Cluster

    write_study(tmp_path)
    fast = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_failure_threshold": 4,
    }
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": fast})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    retried: list[JobRetried] = []
    running: dict[str, int] = {}

    def lose(event: Event) -> None:
        """Take a machine away as soon as both are in the first half of a training, one after the other."""
        if isinstance(event, JobRetried):
            retried.append(event)
            nodes.append(cluster.add_node(num_cpus=1))
        if isinstance(event, EpochEnded):
            running[event.job.key] = event.epoch.epoch
            is_early = len(running) == 2 and max(running.values()) <= EPOCHS // 2
            if is_early and len(nodes) == 2 and len(retried) < 2:
                cluster.remove_node(nodes.pop(0), allow_graceful=False)
        if isinstance(event, JobEnded):
            running.pop(event.job.key, None)

    try:
        options = {"address": cluster.address}
        study.load(tmp_path / "s.toml", root=tmp_path, engine="ray", engine_options=options).run(
            listeners=[lose]
        )
    finally:
        cluster.shutdown()
    there = findings(tmp_path)
    shutil.rmtree(tmp_path / ".study")
    study.load(tmp_path / "s.toml", root=tmp_path).run(listeners=[])
    assert [event.reason.partition(":")[0] for event in retried] == [
        "its machine or Ray's process on it is gone"
    ] * 2
    assert there == findings(tmp_path)


def write_study(folder: Path) -> None:
    """Write a study of a function that takes a second for a training."""
    (folder / "study.toml").write_text('mlflow = "off"\ndevice = "cpu"\nworkers = 2\n')
    (folder / "ray_lab.py").write_text(TRAINING)
    (folder / "s.toml").write_text(STUDY)


def findings(folder: Path) -> Any:
    """Return the findings of the study without measured times."""
    found = timeless(json.loads((folder / "reports/s/findings.json").read_bytes()))
    found["facts"] = {key: fact for key, fact in found["facts"].items() if key not in ("trained", "commit")}
    return found
