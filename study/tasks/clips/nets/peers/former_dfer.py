"""Former-DFER (Zhao & Liu, ACM MM 2021): a Transformer inside each frame, then one over the frames."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from study.config.registry import Part, Range, component
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.attention import attend, head_width
from study.tasks.clips.nets.contract import Build, Details, Output
from study.tasks.clips.nets.peers.sizes import need_clip
from study.tasks.clips.nets.video.torchvision_backbones import Width
from study.tasks.clips.nets.video.torchvision_networks import frame_resnet
from study.tasks.clips.nets.weights import SCRATCH, WeightsFile, start_from

HEADS = 8
TOKEN_STAGE = 2
"""Index of the stage of ResNet-18 whose positions are tokens."""


@component("network")
def former_dfer(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    depth: Annotated[int, Range(1, 12), "layers of the temporal Transformer; 3 as published"] = 3,
    weights: WeightsFile = SCRATCH,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """Former-DFER: ResNet-18 with a Transformer over a frame's positions, then one over time."""
    need_clip(shape, "former-dfer", pixels=32)
    spatial = SpatialFormer(shape, width)
    temporal = TemporalFormer(shape.frames, spatial.channels, depth)
    network = FormerDFER(spatial, temporal, build("head", head, spatial.channels, classes))
    return start_from(network, "network", weights)


class FormerDFER(nn.Module):
    """Spatial Transformer on every frame, temporal Transformer, head."""

    def __init__(self, spatial: nn.Module, temporal: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.spatial, self.temporal, self.head = spatial, temporal, head

    def forward(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of clips (B, C, T, H, W) in [0, 1]; there is no context residual."""
        frames = clips.transpose(1, 2)
        features = self.spatial(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        feature = self.temporal(features)
        logits = self.head(feature)
        if details is None:
            return Output(logits)
        details |= {"frame_features": features, "clip_feature": feature}
        return Output(logits, None, details)


class SpatialFormer(nn.Module):
    """ResNet-18 of frames, with a Transformer layer over the positions of its third stage."""

    def __init__(self, shape: ClipShape, width: float) -> None:
        super().__init__()
        trunk = frame_resnet(shape, width)
        layers = list(trunk.layers.items())
        self.early, self.late = nn.ModuleDict(dict(layers[:-1])), nn.ModuleDict(dict(layers[-1:]))
        tokens = trunk.stages[TOKEN_STAGE]
        self.positions = nn.Parameter(torch.randn(1, tokens.height * tokens.width, tokens.channels))
        self.transformer = nn.Sequential(Layer(tokens.channels))
        self.channels = trunk.stages[-1].channels

    def forward(self, frames: Tensor) -> Tensor:
        """Return (N, `channels`) from frames (N, C, H, W)."""
        for layer in self.early.values():
            frames = layer(frames)
        tokens = self.transformer(frames.flatten(2).transpose(1, 2) + self.positions)
        frames = tokens.transpose(1, 2).unflatten(2, frames.shape[2:])
        for layer in self.late.values():
            frames = layer(frames)
        return frames.mean((2, 3))


class TemporalFormer(nn.Module):
    """Transformer over a class token and the frames, read from the class token."""

    def __init__(self, frames: int, channels: int, depth: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(1, 1, channels))
        self.positions = nn.Parameter(torch.randn(1, frames + 1, channels))
        self.transformer = nn.Sequential(*(Layer(channels) for _ in range(depth)))

    def forward(self, frames: Tensor) -> Tensor:
        """Return (B, channels) from (B, T, channels)."""
        tokens = torch.cat([self.class_token.expand(len(frames), -1, -1), frames], dim=1)
        output: Tensor = self.transformer(tokens + self.positions)
        return output[:, 0]


class Layer(nn.Module):
    """Pre-norm Transformer layer: 8 heads, a hidden layer of twice the width, GELU by tanh."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        head_width(channels, HEADS, "network.width")
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.output = nn.Linear(channels, channels)
        self.hidden, self.narrow = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, N, channels), transformed."""
        qkv = self.qkv(self.attention_norm(tokens)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        tokens = tokens + self.output(attend(*qkv).transpose(1, 2).flatten(2))
        hidden = nn.functional.gelu(self.hidden(self.mlp_norm(tokens)), approximate="tanh")
        output: Tensor = tokens + self.narrow(hidden)
        return output
