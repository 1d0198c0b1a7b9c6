"""Seeds and pairing: what a study relies on when it compares two variants under one seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from study.tasks.clips.nets.initial import initialise

Network = Callable[..., nn.Module]


def common(first: nn.Module, second: nn.Module) -> list[str]:
    first_state, second_state = first.state_dict(), second.state_dict()
    return [
        name
        for name in first_state
        if name in second_state and first_state[name].shape == second_state[name].shape
    ]


def is_constant(tensor: torch.Tensor) -> bool:
    return bool((tensor == tensor.flatten()[0]).all())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"splitter": "even-odd"}, {"splitter": "issm"}),
        ({"lifting": {"name": "attention"}}, {"lifting": {"name": "attention", "predictor_depth": 2}}),
        ({"lifting": "haar"}, {"lifting": {"name": "attention", "order": "predict-first"}}),
        ({"readout": "mean"}, {"readout": "token-weights"}),
        (
            {"backbone": "mvit-tiny", "splitter": "even-odd"},
            {"backbone": {"name": "mvit-tiny", "drop_path": 0.1}, "splitter": "issm"},
        ),
    ],
)
def test_variants_share_every_tensor_of_the_same_name(
    network: Network, first: dict[str, Any], second: dict[str, Any]
) -> None:
    network_a, network_b = network(**first), network(**second)
    shared = common(network_a, network_b)
    assert len(shared) >= 9
    for name in shared:
        assert torch.equal(network_a.state_dict()[name], network_b.state_dict()[name]), name


@pytest.mark.parametrize("backbone", ["conv-tiny", "mvit-tiny"])
def test_every_random_tensor_depends_on_the_seed(network: Network, backbone: str) -> None:
    first_state, second_state = (
        network(seed=1, backbone=backbone).state_dict(),
        network(seed=2, backbone=backbone).state_dict(),
    )
    sampled = [name for name, tensor in first_state.items() if not is_constant(tensor.float())]
    assert len(sampled) > 20
    for name in sampled:
        assert not torch.equal(first_state[name], second_state[name]), name


def test_same_seed_gives_the_same_network(network: Network) -> None:
    first_state, second_state = network(seed=3).state_dict(), network(seed=3).state_dict()
    assert all(torch.equal(first_state[name], second_state[name]) for name in first_state)


def test_tensors_of_equal_shape_are_sampled_separately(network: Network) -> None:
    state = network(seed=0).state_dict()
    assert not torch.equal(
        state["lifting.update.layers.0.query.weight"], state["lifting.predict.layers.0.query.weight"]
    )


def test_global_random_state_is_left_alone(network: Network) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "inputs"), [(lambda: nn.Linear(400, 300), 400), (lambda: nn.Conv3d(20, 300, 3), 20 * 27)]
)
def test_constructors_keep_their_distributions(make: Callable[[], nn.Module], inputs: int) -> None:
    weight = initialise(make, 0).state_dict()["weight"]
    bound = inputs**-0.5  # torch samples uniformly within this
    assert weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


def test_recurrent_layers_and_drawn_parameters_depend_on_the_seed() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5)
            self.token = nn.Parameter(torch.randn(3) * 0.02)
            self.orthogonal = nn.Parameter(nn.init.orthogonal_(torch.empty(4, 4)))
            self.register_buffer("order", torch.randperm(50))

    first_state, second_state, again = (initialise(Mixed, seed).state_dict() for seed in (0, 1, 0))
    for name in first_state:
        assert not torch.equal(first_state[name], second_state[name]), name
        assert torch.equal(first_state[name], again[name]), name
    assert not torch.equal(first_state["gru.bias_ih_l0"], first_state["gru.bias_hh_l0"])
