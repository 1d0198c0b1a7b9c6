"""Learning rates by depth and by part."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec
from torch import nn

from study.config.registry import Registry
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.training.optim.groups import layer_shares, parameter_groups
from study.tasks.clips.training.optim.optimizers import adamw
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.train import train_epoch


class Blocks(nn.Module):
    """A token, an embedding, three blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(2))
        self.embed = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(2), nn.Linear(2, 2)


def by_name(network: nn.Module, *others: nn.Parameter, lr: float = 1.0, **settings: Any) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    settings = {"layer_decay": 1.0, "factors": {}, **settings}
    groups: Any = parameter_groups(network, others, lr, **settings)
    return {names.get(id(p), "loss"): group["lr"] for group in groups for p in group["params"]}


def test_layer_decay_gives_the_rates_of_beit() -> None:
    rates = by_name(Blocks(), lr=0.1, layer_decay=0.5)
    for prefix, power in {"token": 4, "embed": 4, "blocks.0": 3, "blocks.2": 1, "norm": 0, "head": 0}.items():
        found = [rate for name, rate in rates.items() if name.startswith(prefix)]
        assert found
        assert found == pytest.approx([0.1 * 0.5**power] * len(found))


@pytest.mark.parametrize(
    ("network", "first", "layers"),
    [("mae-dfer", "embed.weight", 2), ("former-dfer", "spatial.positions", 4), ("m3dfel", "backbone.", 5)],
)
def test_layers_of_published_networks(network: str, first: str, layers: int) -> None:
    registry, small = Registry(), {"name": network, "width": 0.125, "depth": 2}
    small |= {"patch": 8} if network == "mae-dfer" else {}
    built = build_network(registry, configured(registry, {"network": small}), ClipShape(1, 16, 32, 32), 7)
    shares = layer_shares(built, 0.5)
    assert shares.keys() == dict(built.named_parameters()).keys()
    lowest = min(shares.values())
    assert any(name.startswith(first) and share == lowest for name, share in shares.items())
    assert {share for name, share in shares.items() if name.startswith("head.")} == {1.0}
    assert len({share for share in shares.values() if lowest < share < 1}) >= layers - 1


def test_the_longest_name_decides_the_factor_of_a_tensor_and_the_loss_has_the_full_rate() -> None:
    rates = by_name(
        Blocks(), nn.Parameter(torch.zeros(1)), factors={"blocks": 0.5, "blocks.1": 0.0, "head": 2.0}
    )
    assert (rates["blocks.0.weight"], rates["blocks.1.bias"], rates["head.weight"]) == (0.5, 0.0, 2.0)
    assert rates["embed.weight"] == rates["loss"] == 1.0


def test_every_parameter_is_in_one_group_and_the_greatest_rate_comes_first() -> None:
    network = Blocks()
    groups: Any = parameter_groups(network, [], 1.0, 0.5, {})
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates, reverse=True)
    assert [group["lr"] for group in adamw(groups, 1.0, 0.0).param_groups] == rates


@pytest.mark.parametrize(
    ("network", "settings", "says"),
    [
        (Blocks(), {"factors": {"blokcs": 0.1}}, "train.lr_factors.blokcs: the network has no tensor"),
        (Blocks(), {"factors": {"block": 0.1}}, "Did you mean 'blocks'?"),
        (nn.Linear(2, 2), {"layer_decay": 0.5}, "train.layer_decay: the network has no list of layers"),
        (nn.Linear(2, 2), {"factors": {"weight": 0.0, "bias": 0.0}}, "nothing would be trained"),
    ],
)
def test_rates_that_nothing_can_have_are_refused(network: Any, settings: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        by_name(network, **settings)
    assert says in str(error.value)


def test_a_part_with_factor_0_keeps_its_weights_and_the_others_learn(spec: MakeSpec) -> None:
    registry = Registry(("support.tiny_parts",))
    run = spec(warmup_epochs=0.0)
    parts = {name.partition(".")[0] for name in state_of(run, registry).network.state_dict()}
    fixed = sorted(parts)[0]
    state = state_of(spec(warmup_epochs=0.0, lr_factors={fixed: 0.0}), registry)
    before = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
    train_epoch(state, 1)
    changed = {
        name.partition(".")[0]
        for name, tensor in state.network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == parts - {fixed} != set()


def state_of(run: Any, registry: Registry) -> TrainState:
    return TrainState.of(run, registry, build_dataset(registry, run.table("dataset")), torch.device("cpu"))
