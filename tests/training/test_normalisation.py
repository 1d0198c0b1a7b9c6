"""Normalisation of clips by ImageNet's colours, for any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.training_jobs import MakeSpec, evaluate, train
from torch import nn
from torchvision.transforms import v2

from study.errors import InputError
from study.records import RunResult, from_json
from study.tasks.clips.nets.video.torchvision_weights import Normalise
from study.tasks.clips.training.normalisation import normalise


class Echo(nn.Module):
    """Returns its clips."""

    def forward(self, clips: torch.Tensor, details: Any = None) -> torch.Tensor:
        return clips


def test_clips_are_normalised_as_torchvision_does_and_tensors_keep_their_names() -> None:
    clips = torch.rand(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    network = Echo()
    normalise(network, 3)
    expected = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(clips.transpose(1, 2)).transpose(
        1, 2
    )
    torch.testing.assert_close(network(clips), expected)
    assert not network.state_dict()


def test_grey_clips_keep_one_channel() -> None:
    network = Echo()
    normalise(network, 1)
    found = network(torch.full((1, 1, 2, 2, 2), 0.449))
    assert found.shape == (1, 1, 2, 2, 2)
    assert found.abs().max().item() < 1e-3  # 0.449 is the mean of the three


@pytest.mark.parametrize(
    ("network", "channels"), [(Echo(), 2), (nn.Sequential(Normalise([0.5] * 3, [0.5] * 3), Echo()), 3)]
)
def test_clips_are_never_normalised_twice_or_in_unknown_channels(network: nn.Module, channels: int) -> None:
    with pytest.raises(InputError, match=r"train\.normalise"):
        normalise(network, channels)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_normalised_training_is_tested_as_it_was_trained(
    spec: MakeSpec, tmp_path: Path, ema: float
) -> None:
    run = spec(epochs=2, normalise="imagenet", ema=ema)
    train(run, tmp_path)
    assert from_json(RunResult, (tmp_path / "result.json").read_text()).status == "finished"
    evaluate(run, tmp_path)  # raises if the loaded network predicts otherwise
    assert (tmp_path / "test.json").is_file()
