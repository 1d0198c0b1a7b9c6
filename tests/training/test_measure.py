"""The job that measures a tested network: it leaves one file and touches no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training_jobs import MakeSpec, measure, train

from study.config.registry import Registry
from study.errors import StudyError
from study.records import Epoch, Measurement, RunSpec, from_json
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.measures.measure import observe
from study.tasks.clips.nets.ifdd.network import build_network

FACES = {"train_clips": 32, "validation_clips": 14, "test_clips": 70, "clips_per_person": 14, "frames": 8}


def ifdd(registry: Any, splitter: Any = "issm", **parts: Any) -> Any:
    tables = {"backbone": "conv-tiny", "lifting": "haar", "readout": "mean", "head": "linear", **parts}
    config = {kind: registry.resolve(kind, name, kind) for kind, name in tables.items()}
    config["network"] = registry.resolve("network", "ifdd", "network")
    config["splitter"] = registry.resolve("splitter", splitter, "splitter")
    return config


def no_epoch(epoch: Epoch) -> None:
    raise AssertionError("a measure reported an epoch")


@pytest.fixture
def faces(spec: MakeSpec) -> Any:
    """Return the request of a short training of a small IFDD on faces."""
    registry, plain = Registry(), spec(epochs=1)
    config = {
        **plain.config,
        **ifdd(registry),
        "dataset": registry.resolve("dataset", {"name": "faces", **FACES}, ""),
    }
    return RunSpec(config, 1, "data", "code", metric={"name": "war"})


def test_both_measures_of_a_trained_network_are_kept_with_units_and_chance(
    faces: Any, tmp_path: Path
) -> None:
    train(faces, tmp_path, lambda epoch: None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("frames", "probes"):
        measure(faces, tmp_path, no_epoch, f"{name}@0123")
        found = from_json(Measurement, (tmp_path / f"measure-{name}@0123.json").read_bytes())
        assert (found.run, found.measure, found.examples) == (faces.id, name, 70)
        for figure in found.figures.values():
            assert figure.value is not None
            assert figure.unit
            assert figure.about
    assert found.figures["Person from static group"].chance == pytest.approx(20)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_network_without_groups_is_measured_without_group_figures(spec: MakeSpec, tmp_path: Path) -> None:
    request = spec(epochs=1)
    train(request, tmp_path, lambda epoch: None)
    measure(request, tmp_path, no_epoch, "probes@0123")
    found = from_json(Measurement, (tmp_path / "measure-probes@0123.json").read_bytes())
    assert all(figure.value is None for figure in found.figures.values())
    assert found.figures["Emotion from dynamic group"].undefined == "the network has no dynamic group"


def test_a_run_without_weights_cannot_be_measured(spec: MakeSpec, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no weights\.safetensors"):
        measure(spec(), tmp_path, no_epoch, "probes@0123")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("splitter", "weights"),
    [
        ("even-odd", [0, 1, 0, 1]),
        ("halves", [0, 0, 1, 1]),
        ({"name": "issm", "frozen": True}, [0, 1, 0, 1]),
        # offsets of zero in the release's positions sample 1 and 3 at 1 * 4/3 - 1/2 and at the end
        ({"name": "issm", "frozen": True, "positions": "released"}, [1 / 6, 5 / 6, 0, 1]),
    ],
)
def test_what_is_observed_are_the_frames_that_the_splitter_takes(splitter: Any, weights: Any) -> None:
    registry = Registry()
    shape = ClipShape(1, 8, 32, 32)
    network = build_network(registry, ifdd(registry, splitter), shape, 7)
    clips = registry.build("dataset", {"name": "faces", **FACES, "test_clips": 6}).split("test")
    observed = observe(network, clips, 32, torch.device("cpu"))
    assert observed.details["dynamic_weights"].shape == (6, 2, 4)
    assert observed.details["dynamic_weights"].sum(axis=1) == pytest.approx(
        np.tile(weights, (6, 1)), abs=1e-6
    )
    assert observed.details["lifted_static"].shape == (6, 32)
