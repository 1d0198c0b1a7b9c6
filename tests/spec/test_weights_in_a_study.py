"""Weights in a study: what they hold counts, where they lie does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from study.config.compile import compile_study
from study.config.registry import Registry
from study.config.settings import settings
from study.config.study import load
from study.errors import InputError
from study.records import RunSpec
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.nets.weights import Facts, save, shapes

STUDY = """
title = "t"
question = "Do pretrained weights help?"
[base]
network = {{ name = "ifdd", stages = [3] }}
backbone = {{ name = "mfvit-xs", width = 8 }}
lifting = {{ name = "attention", heads = 4 }}
dataset = {{ name = "faces", frames = 8, size = 32, channels = 3 }}
[design]
kind = "one-factor"
reference = {{ "backbone.weights" = "scratch" }}
[factors]
"backbone.weights" = ["scratch", "{path}"]
"""


def runs(folder: Path, path: Path) -> list[RunSpec]:
    (folder / "pretrained.toml").write_text(STUDY.format(path=path))
    record = compile_study(load(folder / "pretrained.toml"), settings(folder), "cpu")
    return [variant.run({}, 1, None) for variant in record.variants]


def network(run: RunSpec) -> torch.nn.Module:
    return build_network(Registry(), run.tables, ClipShape(3, 8, 32, 32), 7)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    config = Registry().resolve("backbone", {"name": "mfvit-xs", "width": 8}, "")
    backbone = Registry().build("backbone", config, ClipShape(3, 8, 32, 32))
    path = tmp_path / "weights.safetensors"
    save(
        path,
        {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()},
        Facts("a test", {}),
    )
    return path


def test_the_content_of_a_weights_file_counts_and_its_place_does_not(tmp_path: Path, weights: Path) -> None:
    scratch, first = runs(tmp_path, weights)
    moved = weights.rename(tmp_path / "moved.safetensors")
    again_scratch, again = runs(tmp_path, moved)
    assert (again.id, again_scratch.id) == (first.id, scratch.id)
    assert first.id != scratch.id
    save(moved, {"backbone.other": torch.zeros(1)}, Facts("a test", {}))
    assert runs(tmp_path, moved)[1].id != first.id


def test_a_run_starts_from_the_weights_that_its_study_names(tmp_path: Path, weights: Path) -> None:
    from safetensors.torch import load_file

    scratch, started = (network(run).state_dict() for run in runs(tmp_path, weights))
    kept = load_file(weights)
    assert kept.keys() <= started.keys()
    assert all(torch.equal(started[name], tensor) for name, tensor in kept.items())
    assert shapes(scratch) == shapes(started)


def test_weights_that_change_after_planning_stop_the_run(tmp_path: Path, weights: Path) -> None:
    _, run = runs(tmp_path, weights)
    save(weights, {"backbone.other": torch.zeros(1)}, Facts("a test", {}))
    with pytest.raises(InputError, match="has changed since the study was planned"):
        network(run)


def test_a_weights_file_that_is_not_there_is_named_when_the_study_is_planned(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.safetensors: there is no such file"):
        runs(tmp_path, tmp_path / "gone.safetensors")
