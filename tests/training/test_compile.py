"""Trainings with ``train.attention`` and ``train.compile``; torch's compiler runs without its code generator."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.training_jobs import MakeSpec, evaluate, train
from torch import nn

from study.config.registry import Registry
from study.errors import InputError
from study.records import RunSpec
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.attention import Attending
from study.tasks.clips.nets.ifdd.network import configured
from study.tasks.clips.training.building import new_network
from study.tasks.clips.training.probes.try_one_batch import try_one_batch
from study.tasks.clips.training.state import TrainState


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[nn.Module]]:
    """The networks that are compiled, by a backend that generates no code."""
    networks: list[nn.Module] = []
    original = nn.Module.compile

    def compile_(self: nn.Module, **options: Any) -> None:
        networks.append(self)
        original(self, backend="eager", **options)

    monkeypatch.setattr(nn.Module, "compile", compile_)
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):
        yield networks
    torch._dynamo.reset()


def state_of(request: RunSpec) -> TrainState:
    registry = Registry(request.modules)
    dataset = registry.build("dataset", request.table("dataset"))
    return TrainState.of(request, registry, dataset, torch.device("cpu"))


def test_compiled_training_keeps_names_and_numbers_and_is_tested_compiled(
    spec: MakeSpec, tmp_path: Path, compiled: list[nn.Module]
) -> None:
    weights = []
    for name, changes in (("plain", {}), ("compiled", {"compile": True})):
        request = spec(epochs=1, ema=0.5, **changes)
        train(request, tmp_path / name)
        evaluate(request, tmp_path / name)
        weights.append(safetensors.torch.load_file(tmp_path / name / "weights.safetensors"))
    plain, by_compiler = weights
    assert plain.keys() == by_compiler.keys()
    for name, tensor in plain.items():
        torch.testing.assert_close(by_compiler[name], tensor, rtol=1e-4, atol=1e-5)
    assert len(compiled) >= 3  # the trained network, its average and the loaded one


def test_compiled_network_is_that_of_the_state_and_its_average(
    spec: MakeSpec, compiled: list[nn.Module]
) -> None:
    state = state_of(spec(ema=0.5, compile=True))
    assert compiled == [state.network, state.eval_model]


def test_missing_compiler_is_an_error_before_anything_is_trained(
    spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    try_one_batch(spec())
    with pytest.raises(InputError, match=r"train\.compile.*g\+\+"):
        try_one_batch(spec(compile=True))


@pytest.mark.parametrize("form", [None, "fast", "reference"])
def test_network_has_the_attention_that_is_set_and_fast_by_default(spec: MakeSpec, form: str | None) -> None:
    registry = Registry()
    parts = configured(registry, {"network": "ifdd"})
    request = spec() if form is None else spec(attention=form)
    request = replace(request, config={**request.config, **parts})
    network = new_network(registry, request, ClipShape(1, 16, 32, 32), 7)
    found = {module.attention for module in network.modules() if isinstance(module, Attending)}
    assert found == {form or "fast"}
