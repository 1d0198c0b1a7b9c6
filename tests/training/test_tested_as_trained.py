"""What is tested is what was trained: state outside the state dict, and a loss that learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from support.training_jobs import MakeSpec, evaluate, ignore, measure, train

from study.config.registry import Registry
from study.errors import InputError, StudyError
from study.ledger.predictions import load
from study.records import RunSpec
from study.tasks import work
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.training.probes.try_one_batch import try_one_batch
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.train import train_epoch

MODULES = ("support.tiny_parts", "support.own_parts")
REFUSED = "does not predict what it predicted in training"


@pytest.fixture
def own_spec(spec: MakeSpec) -> Callable[..., RunSpec]:
    """Return a function that makes a request with components of `support.own_parts`."""

    def make(
        network: dict[str, Any] | None = None, loss: dict[str, Any] | None = None, **changes: Any
    ) -> Any:
        made = spec(dataset={"test_is_validation": True}, **changes)
        config = {
            **made.config,
            **({"network": network} if network else {}),
            **({"loss": loss} if loss else {}),
        }
        return replace(made, config=config, modules=MODULES)

    return make


def state_of(request: RunSpec) -> TrainState:
    registry = Registry(request.modules)
    return TrainState.of(
        request, registry, build_dataset(registry, request.table("dataset")), torch.device("cpu")
    )


@pytest.mark.parametrize("keep", ["persistent", "buffer", "late", "grown"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_buffers_are_kept_whether_persistent_or_not(
    own_spec: MakeSpec, tmp_path: Path, keep: str, ema: float
) -> None:
    request = own_spec({"name": "centred", "keep": keep}, epochs=2, ema=ema)
    train(request, tmp_path)
    if ema == 0.0:
        kept = safetensors.torch.load_file(tmp_path / "weights.safetensors")["mean"]
        assert kept.min() > 0.3  # the clips' grey is about 0.5 + 0.06
    evaluate(request, tmp_path)
    trained, tested = load(tmp_path / "validation.npz"), load(tmp_path / "test.npz")
    assert (trained.logits == tested.logits).all()  # the test split is the validation split here


@pytest.mark.parametrize("keep", ["attribute", "list"])
def test_state_outside_the_state_dict_is_refused(own_spec: MakeSpec, tmp_path: Path, keep: str) -> None:
    request = own_spec({"name": "centred", "keep": keep}, epochs=2)
    train(request, tmp_path)
    with pytest.raises(StudyError, match=REFUSED) as refused:
        evaluate(request, tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "test.json").exists()
    with pytest.raises(StudyError, match=REFUSED):
        measure(request, tmp_path, ignore, "probes@0")
    with pytest.raises(StudyError, match=REFUSED):
        work.verify(request, tmp_path)


@pytest.mark.parametrize("keep", ["attribute", "list"])
def test_an_average_that_lacks_such_state_is_refused(own_spec: MakeSpec, tmp_path: Path, keep: str) -> None:
    with pytest.raises(StudyError, match="the average of the network's weights lacks state"):
        train(own_spec({"name": "centred", "keep": keep}, epochs=2, ema=0.9), tmp_path)


def test_it_is_refused_too_where_the_validation_split_is_trained_on(
    own_spec: MakeSpec, tmp_path: Path
) -> None:
    def request(keep: str) -> RunSpec:
        made = own_spec({"name": "centred", "keep": keep}, epochs=1, fit="train+val")
        return replace(made, config={**made.config, "dataset": {"name": "shuffled"}})

    train(request("attribute"), tmp_path)
    with pytest.raises(StudyError, match=REFUSED):
        evaluate(request("attribute"), tmp_path)
    train(request("buffer"), tmp_path / "sound")
    assert len(load(tmp_path / "sound" / "train.npz").ids) == 8  # one batch
    assert not (tmp_path / "sound" / "validation.npz").exists()
    evaluate(request("buffer"), tmp_path / "sound")


def test_a_checkpoint_that_restores_another_network_is_not_resumed(
    own_spec: MakeSpec, tmp_path: Path
) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    request = own_spec({"name": "centred", "keep": "attribute"}, epochs=3)
    train(request, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path / "killed", stop)
    train(request, tmp_path / "killed")
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_network_that_draws_in_evaluation_is_tested_as_it_was_validated(
    own_spec: MakeSpec, tmp_path: Path, workers: int
) -> None:
    request = replace(own_spec({"name": "drawn", "noisy": True}, epochs=2), loader_workers=workers)
    train(request, tmp_path)
    evaluate(request, tmp_path)
    trained, tested = load(tmp_path / "validation.npz"), load(tmp_path / "test.npz")
    assert (trained.logits == tested.logits).all()


def test_a_loss_with_parameters_is_trained_like_the_network(own_spec: MakeSpec) -> None:
    """One step of AdamW from zero moments moves a weight by lr, against the sign of its gradient."""
    request = own_spec(
        loss={"name": "centre-loss", "weight": 5.0},
        lr=0.05,
        weight_decay=0.0,
        warmup_epochs=0.0,
        batch_size=60,
        schedule={"name": "constant"},
    )
    state = state_of(request)
    assert isinstance(state.loss, torch.nn.Module)
    before = state.loss.get_parameter("centres").detach().clone()
    train_epoch(state, 1)
    moved = state.loss.get_parameter("centres").detach() - before
    assert moved.abs().allclose(torch.full((3, 3), 0.05), rtol=1e-3)
    assert torch.equal(before, state_of(request).loss.get_parameter("centres").detach())  # type: ignore[attr-defined]
    other = state_of(replace(request, seed=2)).loss.get_parameter("centres")  # type: ignore[attr-defined]
    assert not torch.equal(before, other)


def test_a_loss_with_parameters_resumes_counts_and_clips(own_spec: MakeSpec, tmp_path: Path) -> None:
    def stop(epoch: Any) -> None:
        if epoch.epoch == 1:
            raise KeyboardInterrupt

    request = own_spec(loss={"name": "centre-loss", "weight": 5.0}, epochs=3)
    train(request, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(request, tmp_path / "killed", stop)
    train(request, tmp_path / "killed")
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]
    assert json.loads((tmp_path / "whole" / "result.json").read_text())["parameters"] == 33 * 16 + 17 * 3
    evaluate(request, tmp_path / "whole")


def test_tensors_that_nobody_would_train_are_refused_before_the_study(own_spec: MakeSpec) -> None:
    with pytest.raises(InputError, match=r"2 tensors need gradients but are no parameters.*\(32, 32\)"):
        try_one_batch(own_spec({"name": "listed"}))
    try_one_batch(own_spec(loss={"name": "centre-loss", "weight": 5.0}))
