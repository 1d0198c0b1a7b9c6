"""Read-outs: the groups to one feature vector a clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from study.config.registry import Range, component
from study.errors import InputError
from study.tasks.clips.nets.attention import Attending, head_width
from study.tasks.clips.nets.contract import Features, Groups, GroupShapes

Group = Annotated[Literal["dynamic", "static", "both"], "the group that the clip is classified from"]
Heads = Annotated[int, Range(1, 64), "attention heads; must divide the channels"]


@component("readout")
def token_weights(
    groups: GroupShapes,
    *,
    group: Group = "dynamic",
) -> nn.Module:
    """One learned weight for each position in time and space."""
    return ReadOut(groups, group, lambda features: TokenWeights(features.tokens))


@component("readout")
def mean(
    groups: GroupShapes,
    *,
    group: Group = "dynamic",
) -> nn.Module:
    """The mean over time and space."""
    return ReadOut(groups, group, lambda features: TokenMean())


@component("readout")
def class_token(
    groups: GroupShapes,
    *,
    group: Group = "dynamic",
    heads: Heads = 8,
) -> nn.Module:
    """A learned class token that attends to the group's tokens."""
    return ReadOut(groups, group, lambda features: ClassToken(features.channels, heads))


class ReadOut(nn.Module):
    """Summarises one group, or both groups side by side."""

    def __init__(self, shapes: GroupShapes, group: Group, summary: Callable[[Features], nn.Module]) -> None:
        super().__init__()
        if shapes.static is None and group != "dynamic":
            raise InputError(f"readout.group: must be 'dynamic' without a split. Got {group!r} instead.")
        self.chosen = ("static", "dynamic") if group == "both" else (group,)
        self.summaries = nn.ModuleDict({name: summary(getattr(shapes, name)) for name in self.chosen})
        self.features = sum(getattr(shapes, name).channels for name in self.chosen)

    def forward(self, groups: Groups) -> Tensor:
        """Return (B, features)."""
        return torch.cat([self.summaries[name](getattr(groups, name)) for name in self.chosen], dim=1)


class TokenWeights(nn.Module):
    """A linear layer without bias over the tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.weights = nn.Linear(tokens, 1, bias=False)

    def forward(self, group: Tensor) -> Tensor:
        """Return (B, C) from (B, C, T, H, W)."""
        summed: Tensor = self.weights(group.flatten(2))
        return summed.squeeze(2)


class TokenMean(nn.Module):
    """The mean over the tokens."""

    def forward(self, group: Tensor) -> Tensor:
        """Return (B, C) from (B, C, T, H, W)."""
        return group.mean((2, 3, 4))


class ClassToken(Attending):
    """Cross-attention of a learned query token to the tokens of a group."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        head_width(channels, heads, "readout.heads")
        self.token = nn.Parameter(torch.empty(1, 1, channels))
        nn.init.trunc_normal_(self.token, std=0.02)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)

    def forward(self, group: Tensor) -> Tensor:
        """Return (B, C) from (B, C, T, H, W)."""
        tokens = group.flatten(2).transpose(1, 2)
        q = self.query(self.token).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        output: Tensor = self.project(self.attend(q.expand(len(group), -1, -1, -1), k, v).flatten(1))
        return output
