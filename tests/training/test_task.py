"""The clips task as the harness sees it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.task import ENGINE

FACES = {"name": "faces", "train_clips": 28, "validation_clips": 14, "test_clips": 21}


@pytest.fixture
def task() -> Any:
    return Registry(["support.tiny_parts", "support.open_parts"]).task({"name": "clips"})


def test_the_task_and_its_metrics_import_no_torch() -> None:
    code = (
        "import sys; from study.config.registry import Registry; t = Registry().task({'name': 'clips'}); "
        "t.sources({'network': {'name': 'ifdd'}}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_war_is_primary_and_a_users_metric_is_there(task: Any) -> None:
    assert list(task.metrics)[:2] == ["war", "uar"]
    assert (task.metrics["surprise"].direction, task.metrics["surprise"].unit) == ("minimize", "nats")
    assert task.counts == {"engine": ENGINE}


def test_sources_are_networks_data_and_the_users_own_and_never_the_loop(task: Any) -> None:
    found = task.sources(
        {
            "dataset": {"name": "faces"},
            "network": {"name": "bare"},
            "loss": {"name": "cross-entropy-context"},
            "optimizer": {"name": "adamw"},
            "schedule": {"name": "growing"},
            "metric": {"name": "war"},
            "train": {"epochs": 1},
        }
    )
    assert found.modules == (
        "study.tasks.clips.data.faces.dataset",
        "study.tasks.clips.nets.ifdd.losses",
        "support.open_parts",
    )
    assert found.follow == ("study.tasks.clips.nets", "study.tasks.clips.data")


def test_data_are_described_with_sizes_chance_and_their_limits(task: Any) -> None:
    registry = task.registry
    table = registry.resolve("dataset", FACES, "")
    info = task.data({"dataset": table, "train": {"fit": "train+val"}})
    dataset = registry.build("dataset", table)
    labels = dataset.split("test").labels
    assert (info.name, info.digest, info.folds, info.noun) == ("faces", dataset.digest, (), "clip")
    assert [(s.train, s.validation, s.test, s.trained) for s in info.sizes] == [(28, 14, 21, 42)]
    assert info.chance["uar"] == 1 / 7
    assert info.chance["war"] == pytest.approx(np.bincount(labels).max() / 21)
    assert (info.chance["top-k"], info.chance["top-k(k=3)"]) == (2 / 7, 3 / 7)
    assert any("procedural" in line for line in info.warnings)
    assert (info.fold_key, info.published, info.is_optimistic) == ("", None, False)


def test_facts_name_every_way_in_which_repetitions_are_trained(task: Any) -> None:
    configs = [{"train": {}}, {"train": {"fit": "train+val", "determinism": "strict"}}]
    found = task.facts(configs)
    assert found["determinism"] == "strict, warn"
    assert found["repetition"].count("; or ") == 1


def test_a_measure_that_needs_a_truth_that_the_data_lack_is_refused(task: Any) -> None:
    tiny = {"dataset": task.registry.resolve("dataset", "tiny", "")}
    faces = {"dataset": task.registry.resolve("dataset", FACES, "")}
    assert task.measures(["frames", "probes"], [faces], "s.toml").keys() == {"frames", "probes"}
    with pytest.raises(InputError, match="true 'intensity' is known"):
        task.measures(["frames"], [faces, tiny], "s.toml")
    with pytest.raises(InputError, match="Did you mean 'frames'"):
        task.measures(["frame"], [faces], "s.toml")
