"""MAE-DFER's LGI-Former (Sun et al., ACM MM 2023): attention inside regions of a clip, which messenger tokens join."""

from __future__ import annotations

from math import gcd
from typing import Annotated

import torch
from torch import Tensor, nn

from study.config.registry import Part, Range, component
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.attention import attend, head_width
from study.tasks.clips.nets.contract import Build, Details, Output
from study.tasks.clips.nets.peers.sizes import need_clip
from study.tasks.clips.nets.video.backbones import DropPath
from study.tasks.clips.nets.video.torchvision_backbones import Width
from study.tasks.clips.nets.video.torchvision_networks import scaled
from study.tasks.clips.nets.weights import SCRATCH, WeightsFile, start_from

HEADS = 8
CHANNELS_OF_A_HEAD = 64
TUBELET = 2
"""Frames of a token."""
REGIONS = (4, 2, 1)
"""Regions along time, height and width, as far as they divide the tokens."""
EPSILON = 1e-6
Patch = Annotated[int, Range(4, 32), "height and width of a token in pixels; 16 as published"]


@component("network")
def mae_dfer(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    depth: Annotated[int, Range(1, 32), "blocks; 16 as published"] = 16,
    patch: Patch = 16,
    drop_path: DropPath = 0.1,
    weights: WeightsFile = SCRATCH,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """LGI-Former, the network of MAE-DFER: local and global attention through messenger tokens."""
    need_clip(shape, "mae-dfer", pixels=patch, multiple_of=TUBELET, frames=TUBELET)
    channels = HEADS * scaled(CHANNELS_OF_A_HEAD, width)
    network = LGIFormer(shape, channels, depth, patch, drop_path, build("head", head, channels, classes))
    return start_from(network, "network", weights)


class LGIFormer(nn.Module):
    """Tokens of a clip in regions, blocks of local and global attention, mean of the messengers, head.

    `unused` names the tensors of the last block that change only tokens, which the head does not read.
    """

    def __init__(
        self, shape: ClipShape, channels: int, depth: int, patch: int, drop_path: float, head: nn.Module
    ) -> None:
        super().__init__()
        tokens = (shape.frames // TUBELET, shape.height // patch, shape.width // patch)
        self.regions = tuple(gcd(count, parts) for count, parts in zip(tokens, REGIONS, strict=True))
        kernel = (TUBELET, patch, patch)
        self.embed = nn.Conv3d(shape.channels, channels, kernel_size=kernel, stride=kernel)
        self.register_buffer("positions", sine_positions(*tokens, channels), persistent=False)
        number = self.regions[0] * self.regions[1] * self.regions[2]
        self.messengers = nn.Parameter(torch.empty(number, channels))
        nn.init.trunc_normal_(self.messengers, std=0.02)
        rates = [drop_path * number / max(1, depth - 1) for number in range(depth)]
        self.blocks = nn.ModuleList(Block(channels, rate) for rate in rates)
        self.norm = nn.LayerNorm(channels, EPSILON)
        self.head = head
        last = f"blocks.{depth - 1}."
        parts = (f"{last}back.", f"{last}token_norm.", f"{last}messenger_norm.")
        self.unused = frozenset(name for name, _ in self.named_parameters() if name.startswith(parts))

    def forward(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of clips (B, C, T, H, W) in [0, 1]; there is no context residual."""
        tokens = self._in_regions(self.embed(clips) + self.positions)
        messengers = self.messengers.expand(len(clips), -1, -1).unsqueeze(2)
        regions = torch.cat([messengers, tokens], dim=2)
        for block in self.blocks:
            regions = block(regions)
        feature = self.norm(regions[:, :, 0].mean(1))
        logits = self.head(feature)
        if details is None:
            return Output(logits)
        details["clip_feature"] = feature
        return Output(logits, None, details)

    def _in_regions(self, tokens: Tensor) -> Tensor:
        """Return (B, regions, tokens of one, C) from (B, C, T, H, W)."""
        for dimension, parts in zip((2, 4, 6), self.regions, strict=True):
            tokens = torch.unflatten(tokens, dimension, (parts, -1))
        return tokens.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6).flatten(1, 3)


class Block(nn.Module):
    """Attention inside regions, among messengers, and of all tokens to the messengers; then an MLP."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        from torchvision.ops import StochasticDepth  # slow to import

        self.local_norm, self.local = nn.LayerNorm(channels, EPSILON), Attention(channels)
        self.global_norm, self.across = nn.LayerNorm(channels, EPSILON), Attention(channels)
        self.token_norm, self.messenger_norm = (nn.LayerNorm(channels, EPSILON) for _ in range(2))
        self.back = Attention(channels)
        self.mlp_norm = nn.LayerNorm(channels, EPSILON)
        self.hidden, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, regions: Tensor) -> Tensor:
        """Return regions (B, R, 1 + tokens, C), whose first token is the messenger, transformed."""
        batch = len(regions)
        flat = self.local_norm(regions).flatten(0, 1)
        regions = regions + self.drop_path(self.local(flat, flat).unflatten(0, (batch, -1)))
        messengers, tokens = regions[:, :, 0], regions[:, :, 1:].flatten(1, 2)
        normed = self.global_norm(messengers)
        messengers = messengers + self.drop_path(self.across(normed, normed))
        joined = self.back(self.token_norm(tokens), self.messenger_norm(messengers))
        tokens = tokens + self.drop_path(joined)
        regions = torch.cat([messengers.unsqueeze(2), tokens.unflatten(1, (messengers.shape[1], -1))], dim=2)
        hidden = nn.functional.gelu(self.hidden(self.mlp_norm(regions)))
        output: Tensor = regions + self.drop_path(self.narrow(hidden))
        return output


class Attention(nn.Module):
    """Multi-head attention of queries to a context; queries and values have a bias, keys have none."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        head_width(channels, HEADS, "network.width")
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels, bias=False)
        self.value, self.output = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Return (B, N, C) from queries (B, N, C) and a context (B, M, C)."""
        q, k, v = (
            tokens.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for tokens in (self.query(queries), self.key(context), self.value(context))
        )
        attended: Tensor = self.output(attend(q, k, v).transpose(1, 2).flatten(2))
        return attended


def sine_positions(frames: int, height: int, width: int, channels: int) -> Tensor:
    """Return fixed positions (C, T, H, W): sine on even and cosine on odd channels of one index over all tokens."""
    index = torch.arange(frames * height * width, dtype=torch.float64)
    channel = torch.arange(channels)
    angles = index / 10000 ** (2 * (channel // 2) / channels).to(torch.float64)[:, None]
    values = torch.where(channel[:, None] % 2 == 0, angles.sin(), angles.cos())
    return torch.unflatten(values.to(torch.float32), 1, (frames, height, width))
