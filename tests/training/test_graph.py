"""Steps that are recorded and replayed, on the CPU through a recorder that keeps the tensors of its recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.training_jobs import MakeSpec
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from study.config.registry import Registry
from study.errors import InputError, StudyError
from study.records import RunSpec
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.task import RECORDED_BACKBONES, ClipsTask
from study.tasks.clips.training.batches import predict
from study.tasks.clips.training.precision import forward
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.stepping.graph import WARM_UPS, CudaRecorder, Recorder
from study.tasks.clips.training.train import train_epoch

EPOCHS = 2
CPU = torch.device("cpu")
HARD = {
    "augmentation": {"name": "standard", **dict.fromkeys(("saturation", "hue"), 0.0)},
    "mixup": 0.8,
    "cutmix": 1.0,
    "mix_probability": 0.7,
    "ema": 0.9,
    "clip_norm": 0.05,
    "accumulate": 2,
    "network": {"width": 4, "dropout": 0.3},
    "epochs": EPOCHS,
}


class ReplayingRecorder:
    """Does what a graph does: works on the tensors that it recorded, and writes results into the same memory."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        self.calls.append("warm-up")
        return work()

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.calls.append("record")
        results: list[Tensor] = []

        def replay() -> Tensor:
            self.calls.append("replay")
            value = work()
            if not results:
                results.append(torch.empty_like(value))
            return results[0].copy_(value)

        return replay


def trained(request: RunSpec, recorder: Recorder | None, rate: Callable[[float], float] = float) -> Any:
    """Return the mean losses of the epochs, and all tensors of the trained and the averaged network."""
    registry = Registry(request.modules)
    dataset = registry.build("dataset", request.table("dataset"))
    state = TrainState.of(request, registry, dataset, CPU)
    state.recorder = recorder
    schedule = state.schedule

    class Rounded:
        def rate(self, step: int) -> float:
            return rate(schedule.rate(step))

    state.schedule = Rounded()
    losses = [train_epoch(state, number).loss for number in range(1, EPOCHS + 1)]
    return losses, {
        **state.network.state_dict(),
        **{f"ema.{k}": v for k, v in state.eval_model.state_dict().items()},
    }


def as_float32(rate: float) -> float:
    return torch.tensor(rate, dtype=torch.float32).item()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.0, "mixup": 0.0, "cutmix": 0.0, "accumulate": 1},
        {"precision": "bf16"},
        {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
        {"clip_norm": 0.0, "batch_size": 7},
    ],
    ids=["everything", "plain", "bf16", "sgd", "no limit of the norm"],
)
def test_replayed_steps_give_the_numbers_of_eager_steps_at_the_same_rates(
    spec: MakeSpec, changes: Any
) -> None:
    if changes.get("batch_size") == 7:
        changes = {**changes, "accumulate": 1}
    request = spec(**{**HARD, **changes})
    recorder = ReplayingRecorder()
    losses, tensors = trained(request, recorder)
    expected_losses, expected = trained(request, None, as_float32)
    assert losses == expected_losses
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    kinds = 1 if not request.config["train"]["mixup"] else 2  # labels, and class shares of mixed batches
    assert recorder.calls.count("record") == kinds
    assert recorder.calls.count("warm-up") == WARM_UPS * kinds
    steps = EPOCHS * (60 // request.config["train"]["batch_size"])
    assert recorder.calls.count("replay") == steps - WARM_UPS * kinds


def test_a_recorded_evaluation_predicts_what_the_network_does(spec: MakeSpec) -> None:
    request = spec(network={"width": 4, "dropout": 0.3})
    registry = Registry(request.modules)
    dataset = registry.build("dataset", request.table("dataset"))
    state = TrainState.of(request, registry, dataset, CPU)
    state.recorder = ReplayingRecorder()
    clips = dataset.split("validation")
    for _ in range(WARM_UPS + 2):  # the last batch is smaller, and of a kind of its own
        predicted = predict(state.eval_model, clips, 7, CPU, seed=1, compute=state.compute)
        expected = predict(state.eval_model, clips, 7, CPU, seed=1)
        np.testing.assert_array_equal(predicted.logits, expected.logits)
        train_epoch(state, 1)
    assert state.recorder.calls.count("replay") > len(clips.labels) // 7


def test_a_recorded_step_that_is_not_finite_ends_the_training_at_that_step(spec: MakeSpec) -> None:
    request = spec(lr=1e30, warmup_epochs=0.0, epochs=EPOCHS)
    registry = Registry(request.modules)
    dataset = registry.build("dataset", request.table("dataset"))
    steps = []
    for recorder in (None, ReplayingRecorder()):
        state = TrainState.of(request, registry, dataset, CPU)
        state.recorder = recorder
        first = train_epoch(state, 1)
        found = first if first.diverged_step is not None else train_epoch(state, 2)
        assert found.diverged_step is not None
        steps.append(found.diverged_step)
    assert steps[0] == steps[1] <= 14


def test_a_graph_on_the_cpu_is_refused_before_anything_is_trained(spec: MakeSpec) -> None:
    request = spec(graph=True)
    registry = Registry(request.modules)
    with pytest.raises(InputError, match=r"train\.graph"):
        TrainState.of(request, registry, registry.build("dataset", request.table("dataset")), CPU)


SMALL = {
    "dataset": {"name": "faces"},
    "network": {"name": "ifdd"},
    "backbone": {"name": "conv-tiny"},
    "splitter": {"name": "issm"},
    "lifting": {"name": "haar"},
    "readout": {"name": "mean"},
    "head": {"name": "linear"},
    "loss": {"name": "cross-entropy-context"},
    "optimizer": {"name": "adamw"},
}


@pytest.mark.parametrize(
    ("device", "given", "parts", "expected"),
    [
        ("cuda", "auto", {}, True),
        ("cpu", "auto", {}, False),
        ("cuda", False, {}, False),
        ("cuda", True, {"backbone": {"name": "swin3d-t"}}, True),
        ("cuda", "auto", {"backbone": {"name": "swin3d-t"}}, False),
        ("cuda", "auto", {"readout": {"name": "lstm"}}, False),
        ("cuda", "auto", {"optimizer": {"name": "torch-optim", "cls": "Rprop"}}, False),
        ("cuda", "auto", {"loss": {"name": "of-the-user"}}, False),
    ],
)
def test_whether_steps_are_recorded_is_decided_by_device_and_configuration_alone(
    device: str, given: Any, parts: Any, expected: bool
) -> None:
    registry = Registry(["support.frail_parts"])
    if "loss" in parts:
        parts = {"loss": {"name": registry_loss(registry)}}
    config = {**SMALL, **parts, "train": {"graph": given}}
    assert ClipsTask(registry).for_device(config, device)["train"]["graph"] is expected


def registry_loss(registry: Registry) -> str:
    """Return the name of a loss that is not the package's own."""
    return next(
        name for name in registry.names("loss") if not registry.get("loss", name).module.startswith("study.")
    )


class HostReads(TorchDispatchMode):
    """Records the operators that mix tensors of the host and of the device, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        # a number is no tensor of the host: operators take it as an argument of their kernel
        if len({t.device.type for t in tensors if t.ndim or t.device.type != "cpu"}) > 1:
            self.found.append(str(func))
        return result


def host_reads(parts: Any) -> list[str]:
    """Return what keeps the forward pass and the loss of a network out of a graph, on a GPU that is not there."""
    registry = Registry(())
    tables = {kind: registry.resolve(kind, part, "") for kind, part in parts.items()}
    network = build_network(registry, tables, ClipShape(1, 16, 32, 32), 7)
    loss = registry.build("loss", registry.resolve("loss", "cross-entropy-context", ""))
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in network.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    module._parameters[name] = nn.Parameter(torch.empty(value.shape, device="cuda"))
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
        clips = torch.empty((4, 1, 16, 32, 32), device="cuda")
        with HostReads() as reads:
            loss(forward(network, clips, classes=7), torch.zeros(4, dtype=torch.long, device="cuda"))
    return reads.found


RECORDED = {
    "network": "ifdd",
    "backbone": "conv-tiny",
    "splitter": "issm",
    "lifting": "haar",
    "readout": "mean",
    "head": "linear",
}
OWN = [
    (kind, name)
    for kind in ("backbone", "splitter", "lifting", "readout", "head")
    for name in (RECORDED_BACKBONES if kind == "backbone" else Registry(()).names(kind))
    if kind == "backbone" or Registry(()).get(kind, name).module.startswith("study.tasks.clips.nets.ifdd.")
]


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch that knows CUDA, without a GPU")
@pytest.mark.parametrize(("kind", "name"), OWN, ids=str)
def test_whatever_is_recorded_by_itself_reads_nothing_on_the_host(kind: str, name: str) -> None:
    rest = {"splitter": "none", "lifting": "none"} if (kind, name) == ("splitter", "none") else {}
    assert host_reads({**RECORDED, kind: name, **rest}) == []


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch that knows CUDA, without a GPU")
def test_a_table_of_the_host_is_found() -> None:
    with FakeTensorMode(), HostReads() as reads:
        torch.empty(3, device="cuda")[torch.tensor([0, 2])]
    assert reads.found == ["aten.index.Tensor"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_cuda_graph_gives_the_numbers_of_eager_steps_at_the_same_rates(
    spec: MakeSpec, optimizer: str
) -> None:
    request = replace(spec(**HARD, optimizer={"name": optimizer}), device="cuda")
    results = []
    for recorded in (False, True):
        registry = Registry(request.modules)
        dataset = registry.build("dataset", request.table("dataset"))
        state = TrainState.of(request, registry, dataset, torch.device("cuda"))
        state.recorder = CudaRecorder() if recorded else None
        schedule = state.schedule
        state.schedule = type(
            "Rounded", (), {"rate": lambda _, step, of=schedule: as_float32(of.rate(step))}
        )()
        losses = [train_epoch(state, number).loss for number in range(1, EPOCHS + 1)]
        results.append((losses, state.network.state_dict()))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(results[1][1][name], value) for name, value in results[0][1].items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_step_that_cannot_be_recorded_is_an_error_that_names_the_setting() -> None:
    value = torch.ones((), device="cuda")
    with pytest.raises(StudyError, match=r"train\.graph = false"):
        CudaRecorder().record(lambda: value * value.item())
