"""Pyramid: reduces the stages of a backbone to the size of the last one and joins them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from study.errors import InputError
from study.tasks.clips.nets.contract import Features


def chosen_stages(stages: Sequence[int] | None, available: Sequence[Features]) -> tuple[int, ...]:
    """Return the stages to use, ascending; only the last if `stages` is None.

    Raises:
        InputError: `stages` is empty, has duplicates or unknown stages, or lacks the last stage.
    """
    last = len(available) - 1
    if stages is None:
        return (last,)
    if last not in stages or not set(stages) <= set(range(last + 1)) or len(set(stages)) < len(stages):
        raise InputError(
            f"network.stages: must be different numbers from 0 to {last}, {last} (the last) among them, "
            f"for this backbone. Got {list(stages)!r} instead."
        )
    return tuple(sorted(stages))


class Pyramid(nn.Module):
    """Joins stages into one feature map of the last stage's shape.

    Each stage but the last goes through a 3x3 convolution on its frames whose stride, dilation and padding
    are the ratio of the sizes; a 1x1 convolution brings the concatenated maps to the last stage's width.
    A single stage passes unchanged.
    """

    def __init__(self, available: Sequence[Features], stages: Sequence[int] | None) -> None:
        super().__init__()
        self.chosen = chosen_stages(stages, available)
        *earlier, last = (available[stage] for stage in self.chosen)
        self.features = last
        self.reduce = nn.ModuleList(_reduction(stage, last) for stage in earlier)
        width = last.channels + sum(stage.channels for stage in earlier)
        self.join = nn.Conv2d(width, last.channels, kernel_size=1, bias=False) if earlier else nn.Identity()

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Return (B, C, T, H, W) from one (B, C_i, T, H_i, W_i) a stage of the backbone."""
        *earlier, last = (stages[stage] for stage in self.chosen)
        if not earlier:
            return last
        frames = last.shape[2]
        maps = [reduce(_by_frame(stage)) for reduce, stage in zip(self.reduce, earlier, strict=True)]
        joined: Tensor = self.join(torch.cat([*maps, _by_frame(last)], dim=1))
        return torch.unflatten(joined, 0, (-1, frames)).transpose(1, 2)


def _by_frame(clip: Tensor) -> Tensor:
    return clip.transpose(1, 2).flatten(0, 1)


def _reduction(stage: Features, last: Features) -> nn.Conv2d:
    ratio = (_ratio(stage.height, last.height), _ratio(stage.width, last.width))
    if stage.frames != last.frames:
        raise InputError(
            f"network.stages: stages with {stage.frames} and {last.frames} time steps cannot be joined; "
            "use only the last stage."
        )
    return nn.Conv2d(
        stage.channels, stage.channels, kernel_size=3, stride=ratio, dilation=ratio, padding=ratio, bias=False
    )


def _ratio(size: int, last: int) -> int:
    ratio = -(-size // last)
    if -(-size // ratio) != last:
        raise InputError(
            f"network.stages: a stage of {size} positions a side cannot be reduced to {last} by a stride; "
            "choose another image size or only the last stage."
        )
    return ratio
