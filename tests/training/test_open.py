"""Trainings with plain networks, other optimizers, schedules, metrics and precisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_parts
from support.training_jobs import MakeSpec, evaluate, ignore, measure, profile, train

from study.config.registry import Registry
from study.records import Measurement, Profile, RunResult, RunSpec, TestResult, from_json
from study.tasks.clips.training.optim.optimizers import torch_optim
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.train import train_epoch


@pytest.fixture
def open_spec(spec: MakeSpec) -> Any:
    """Return a function that makes the request of a training with a plain network."""

    def make(**changes: Any) -> Any:
        made = spec(**changes)
        config = {**made.config, "network": {"name": "bare"}}
        return replace(made, config=config, modules=("support.tiny_parts", "support.open_parts"))

    return make


def result_of(folder: Path) -> Any:
    return from_json(RunResult, (folder / "result.json").read_bytes())


def state_of(request: RunSpec) -> Any:
    registry = Registry(request.modules)
    dataset = registry.build("dataset", request.table("dataset"))
    return TrainState.of(request, registry, dataset, torch.device("cpu"))


def test_a_network_that_returns_plain_logits_is_trained_tested_measured_and_profiled(
    open_spec: MakeSpec, tmp_path: Path
) -> None:
    request = open_spec(epochs=8)
    train(request, tmp_path)
    assert result_of(tmp_path).validation["war"] > 0.9
    evaluate(request, tmp_path)
    tested = from_json(TestResult, (tmp_path / "test.json").read_bytes())
    assert list(tested.metrics) == ["war", "uar", "loss"]
    assert [found.name for found in tested.breakdowns] == ["class"]
    measure(request, tmp_path, ignore, "probes@0")
    found = from_json(Measurement, (tmp_path / "measure-probes@0.json").read_bytes())
    assert found.figures["Emotion from static group"].undefined == "the network has no static group"
    profile(request, tmp_path)
    counts = from_json(Profile, (tmp_path / "profile.json").read_bytes())
    assert counts.macs == 32 * 16 + 16 * 3


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        {"name": "torch-optim", "cls": "RMSprop", "options": {"momentum": 0.9}},
        {"name": "torch-optim", "cls": "Adam", "options": {"betas": [0.8, 0.9]}},
        {"name": "signs", "shrink": 0.5},
    ],
)
def test_other_optimizers_learn_and_resume_after_a_kill(
    open_spec: MakeSpec, tmp_path: Path, optimizer: Any
) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    request = open_spec(optimizer=optimizer, epochs=4, lr=3e-2)
    train(request, tmp_path / "whole")
    history = result_of(tmp_path / "whole").history
    assert history[-1].train_loss < history[0].train_loss
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path / "killed", stop)
    train(request, tmp_path / "killed")
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_options_of_an_optimizer_reach_torch() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    built = torch_optim([weight], 0.1, 0.01, cls="RMSprop", options={"momentum": 0.9})
    assert isinstance(built, torch.optim.RMSprop)
    group = built.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.1, 0.01, 0.9)


def test_rates_of_parameter_groups_keep_their_proportions(open_spec: MakeSpec) -> None:
    state = state_of(open_spec(optimizer={"name": "signs", "shrink": 0.5}, lr=0.5))
    train_epoch(state, 1)
    expected = 0.5 * state.schedule.rate(state.steps_done - 1)
    assert {group["lr"] for group in state.optimizer.param_groups} == {expected}


def test_a_minimized_metric_chooses_the_epoch_with_the_lowest_value(
    open_spec: MakeSpec, tmp_path: Path
) -> None:
    request = replace(
        open_spec(epochs=8, lr=0.2, dataset={"noise": 90.0}, metric="surprise"), direction="minimize"
    )
    train(request, tmp_path)
    result = result_of(tmp_path)
    values = [epoch.validation["surprise"] for epoch in result.history]
    assert result.best_epoch == values.index(min(values)) + 1 > 1
    assert values == pytest.approx([epoch.diagnostics["loss"] for epoch in result.history], rel=1e-5)
    assert set(result.validation) == {"war", "uar", "surprise"}


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(spec: MakeSpec) -> None:
    whole, parts = (
        state_of(spec(epochs=1, network={"dropout": 0.0}, accumulate=n, optimizer={"name": "sgd"}))
        for n in (1, 4)
    )
    losses = train_epoch(whole, 1), train_epoch(parts, 1)
    assert losses[0].loss == pytest.approx(losses[1].loss, abs=1e-6)
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_each_part_of_an_accumulated_batch_passes_the_network_alone(spec: MakeSpec) -> None:
    tiny_parts.SEEN[True].clear()
    train_epoch(state_of(spec(epochs=1, accumulate=4)), 1)
    assert [len(batch) for batch in tiny_parts.SEEN[True]] == [2] * 4 * 7


def test_bf16_keeps_weights_and_logits_in_fp32_and_still_learns(open_spec: MakeSpec, tmp_path: Path) -> None:
    request = open_spec(epochs=8, precision="bf16")
    state = state_of(request)
    output = forward(state.network, torch.rand(2, 1, 2, 4, 4), "bf16", 3)
    exact = forward(state.network, torch.rand(2, 1, 2, 4, 4), "fp32", 3)
    assert output.logits.dtype == exact.logits.dtype == torch.float32
    assert torch.equal(
        output.logits, output.logits.bfloat16().float()
    )  # computed in bf16, widened for the loss
    train(request, tmp_path)
    assert result_of(tmp_path).validation["war"] > 0.9
    evaluate(request, tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_every_precision_learns_and_repeats_itself_on_a_gpu(
    open_spec: MakeSpec, tmp_path: Path, precision: Any
) -> None:
    request = open_spec(epochs=8, precision=precision, device="cuda")
    for name in "ab":
        train(request, tmp_path / name)
    assert result_of(tmp_path / "a").validation["war"] > 0.9
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
