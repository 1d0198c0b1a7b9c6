from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from study.tasks.clips.training.optim.ema import ModelEma


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("fixed", torch.tensor([0.1, 0.7]), persistent=False)


def averaged(decay: Any, values: Any) -> Any:
    network = Holder()
    average = ModelEma(Holder(), decay)
    for step, value in enumerate(values):
        with torch.no_grad():
            network.weight.fill_(value)
            network.mean.fill_(2 * value)  # type: ignore[operator]
            network.count.fill_(step + 7)  # type: ignore[operator]
        average.update(network)
    return average.network


def test_weights_and_running_means_are_averaged_with_geometric_shares() -> None:
    values, decay = [3.0, -1.0, 4.0, 1.0, 5.0], 0.8
    shares = [decay ** (len(values) - 1 - step) for step in range(len(values))]
    expected = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
    network = averaged(decay, values)
    assert network.weight.tolist() == pytest.approx([expected] * 2)
    assert network.mean.tolist() == pytest.approx([2 * expected] * 2)


def test_whole_numbers_are_copied_and_constants_stay_as_they_are() -> None:
    network = averaged(0.999, [1.0, 2.0, 3.0])
    assert network.count.item() == 9
    assert torch.equal(network.fixed, torch.tensor([0.1, 0.7]))


def test_the_first_step_leaves_no_trace_of_the_initial_weights() -> None:
    assert averaged(0.999, [5.0]).weight.tolist() == [5.0, 5.0]


def test_the_average_does_not_change_the_network_in_training() -> None:
    network = nn.BatchNorm1d(3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = ModelEma(nn.BatchNorm1d(3), 0.9)
    average.update(network)
    average.network.weight.data.fill_(9)  # type: ignore[operator]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
