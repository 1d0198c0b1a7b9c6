"""Temporal read-outs: the mean of each frame, then a sequence model."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from study.config.registry import Range, component
from study.tasks.clips.nets.attention import head_width
from study.tasks.clips.nets.contract import Features, GroupShapes
from study.tasks.clips.nets.ifdd.readouts import Group, Heads, ReadOut

Layers = Annotated[int, Range(1, 4)]


@component("readout")
def lstm(
    groups: GroupShapes,
    *,
    group: Group = "dynamic",
    layers: Annotated[Layers, "layers of the LSTM, each as wide as the features"] = 1,
) -> nn.Module:
    """The last state of an LSTM over the frames' means."""
    return ReadOut(
        groups,
        group,
        lambda features: LastState(
            nn.LSTM(features.channels, features.channels, num_layers=layers, batch_first=True)
        ),
    )


@component("readout")
def gru(
    groups: GroupShapes,
    *,
    group: Group = "dynamic",
    layers: Annotated[Layers, "layers of the GRU, each as wide as the features"] = 1,
) -> nn.Module:
    """The last state of a GRU over the frames' means."""
    return ReadOut(
        groups,
        group,
        lambda features: LastState(
            nn.GRU(features.channels, features.channels, num_layers=layers, batch_first=True)
        ),
    )


@component("readout")
def transformer(
    groups: GroupShapes,
    *,
    group: Group = "dynamic",
    layers: Annotated[Layers, "layers of the Transformer"] = 1,
    heads: Heads = 8,
) -> nn.Module:
    """A Transformer over the frames' means with learned positions, then the mean over time."""
    return ReadOut(groups, group, lambda features: TemporalTransformer(features, layers, heads))


class LastState(nn.Module):
    """The output of a recurrent network at the last time step."""

    def __init__(self, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, group: Tensor) -> Tensor:
        """Return (B, C) from (B, C, T, H, W)."""
        states: Tensor = self.recurrent(frame_means(group))[0]
        return states[:, -1]


class TemporalTransformer(nn.Module):
    """Pre-norm encoder layers with hidden layers of four times the width and dropout 0.1."""

    def __init__(self, features: Features, layers: int, heads: int) -> None:
        super().__init__()
        width = features.channels
        head_width(width, heads, "readout.heads")
        self.positions = nn.Parameter(torch.empty(1, features.frames, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, heads, 4 * width, activation=exact_gelu, batch_first=True, norm_first=True
                )
                for _ in range(layers)
            )
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, group: Tensor) -> Tensor:
        """Return (B, C) from (B, C, T, H, W)."""
        frames: Tensor = self.norm(self.layers(frame_means(group) + self.positions))
        return frames.mean(1)


def exact_gelu(values: Tensor) -> Tensor:
    """Return GELU without approximation.

    torch replaces an encoder layer's own "gelu" in evaluation on a GPU by the tanh approximation, which differs from
    the function that was trained by up to 1e-3.
    """
    return nn.functional.gelu(values)


def frame_means(group: Tensor) -> Tensor:
    """Return the frames' means over height and width, (B, T, C), from (B, C, T, H, W)."""
    return group.mean((3, 4)).transpose(1, 2)
