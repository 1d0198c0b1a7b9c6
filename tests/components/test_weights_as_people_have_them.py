"""Weights as people have them: other classes, names of wrappers, files of a user's own network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets import weights
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.weights import Facts, save, start_from

SHAPE = ClipShape(1, 8, 32, 32)


class Own(nn.Module):
    """A user's network, whose own names begin as those of wrappers do."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.model: Any = nn.ModuleDict({"stem": nn.Linear(4, 5), "norm": nn.BatchNorm1d(5)})
        self.fc: Any = nn.Linear(5, classes)
        self.positions: Tensor
        self.register_buffer("positions", torch.zeros(2), persistent=False)


def names(change: Callable[[str], str], state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {change(name): tensor for name, tensor in state.items()}


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    weights._warn.cache_clear()


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name,
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.model.{name}",
        lambda name: f"model.net.{name}",
        lambda name: f"ema.{name}",
        lambda name: f"student.encoder.{name}",
        lambda name: f"0.{name}",
        lambda name: f"ema_model._orig_mod.module.{name}",
        lambda name: name.replace("model.stem", "model.stem._orig_mod"),
        lambda name: name.replace("model.", "model._fsdp_wrapped_module."),
        lambda name: f"_forward_module.{name}".replace("fc.", "fc._checkpoint_wrapped_module."),
    ],
)
@pytest.mark.parametrize("container", ["bare", "state_dict", "model", "ema", "teacher", "safetensors"])
def test_a_network_of_ones_own_starts_from_its_checkpoint(
    tmp_path: Path, change: Callable[[str], str], container: str
) -> None:
    trained = Own()
    state = names(change, trained.state_dict())
    path = tmp_path / f"weights.{'safetensors' if container == 'safetensors' else 'pt'}"
    if container == "safetensors":
        save_file(state, path)
    else:
        beside = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.zeros(1)}}, "param_groups": []}}
        torch.save(state if container == "bare" else {container: state, **beside}, path)
    started = start_from(Own(), "network", str(path))
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in started.state_dict().items())


def test_several_state_dicts_are_refused_by_the_names_of_their_keys(tmp_path: Path) -> None:
    state = Own().state_dict()
    torch.save({"student": state, "teacher": state, "epoch": 3}, tmp_path / "two.pt")
    with pytest.raises(InputError, match="2 state dicts, under 'student', 'teacher'"):
        start_from(Own(), "network", str(tmp_path / "two.pt"))


def test_a_file_of_a_run_holds_buffers_that_a_state_dict_leaves_out(tmp_path: Path) -> None:
    trained = Own()
    save_file({**trained.state_dict(), "positions": trained.positions}, tmp_path / "run.safetensors")
    started = start_from(Own(), "network", str(tmp_path / "run.safetensors"))
    assert torch.equal(started.fc.weight, trained.fc.weight)


def test_a_classifier_for_other_classes_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained, started = Own(classes=7), Own(classes=3)
    before = started.fc.weight.clone()
    torch.save(trained.state_dict(), tmp_path / "seven.pt")
    with caplog.at_level(logging.WARNING, "study"):
        start_from(started, "network", str(tmp_path / "seven.pt"))
        start_from(Own(classes=3), "network", str(tmp_path / "seven.pt"))
    assert torch.equal(started.fc.weight, before)
    assert torch.equal(started.model["stem"].weight, trained.model["stem"].weight)
    (record,) = caplog.records
    assert "'fc.weight' or 'fc.bias'" in record.getMessage()


def test_what_differs_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    other = Own()
    other.model["stem"] = nn.Linear(6, 5)
    torch.save(other.state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"model\.stem\.weight \[5, 6\], must be \[5, 4\]"):
        start_from(Own(), "network", str(tmp_path / "other.pt"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "none.pt")
    with pytest.raises(InputError, match="missing"):
        start_from(Own(), "network", str(tmp_path / "none.pt"))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(Own(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match="nothing in it was run"):
        start_from(Own(), "network", str(tmp_path / "whole.pt"))


def test_a_network_of_seven_classes_starts_one_of_three(tmp_path: Path) -> None:
    registry = Registry()
    base: dict[str, Any] = {"network": "ifdd"}
    seven = build_network(registry, configured(registry, base), SHAPE, 7)
    save(tmp_path / "seven.safetensors", seven.state_dict(), Facts("a test", {"classes": 7}))
    path = str(tmp_path / "seven.safetensors")
    three = build_network(
        registry, configured(registry, {"network": {"name": "ifdd", "weights": path}}), SHAPE, 3
    )
    for name, value in three.state_dict().items():
        if value.shape == seven.state_dict()[name].shape:
            assert torch.equal(value, seven.state_dict()[name]), name
        else:
            assert name.startswith("head.")
    save_file(seven.state_dict(), tmp_path / "bare.safetensors")
    bare = {"name": "ifdd", "weights": str(tmp_path / "bare.safetensors")}
    with pytest.raises(InputError, match="no record of its origin"):
        build_network(registry, configured(registry, {"network": bare}), SHAPE, 7)
