"""Backbones: ConvTiny, and MViT of any size from torchvision's blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from study.config.registry import Range, component
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Details, Features, need_size
from study.tasks.clips.nets.resampling import PoolTo
from study.tasks.clips.nets.video.multiscale import Grid, PooledAttention, TokenMaxPool
from study.tasks.clips.nets.weights import SCRATCH, WeightsFile, start_from

FirstWidth = Annotated[int, Range(8, 96), "channels of the first stage and of every attention head"]
DropPath = Annotated[float, Range(0, 0.9), "stochastic depth of the last block, in training"]
CONV_TINY_SIDE = 3


@component("backbone")
def conv_tiny(
    shape: ClipShape,
    *,
    width: Annotated[int, Range(32, 512), "channels of the last stage, a multiple of 32"] = 32,
) -> nn.Module:
    """Two 2-D convolutions on pairs of frames: small enough to learn on a CPU within seconds."""
    need_size(shape, "conv-tiny", pixels=16)
    if shape.frames % 2:
        raise InputError(f"backbone 'conv-tiny': needs an even number of frames. Got {shape.frames} instead.")
    if width % 32:
        raise InputError(f"backbone.width: must be a multiple of 32 for 'conv-tiny'. Got {width} instead.")
    return ConvTiny(shape, width)


class ConvTiny(nn.Module):
    """2-D convolutions on pairs of frames, stacked as channels; stages at 1/4 and 1/12 of the size, at most 3 x 3.

    Each frame comes with its difference from the mean frame of the clip, in which the person and the background, equal
    in all frames, cancel out.
    """

    def __init__(self, shape: ClipShape, channels: int) -> None:
        super().__init__()
        frames, height, width = shape.frames // 2, shape.height // 4, shape.width // 4
        self.layers = nn.ModuleList(
            [
                _convolution(4 * shape.channels, channels // 2, kernel=6, stride=4),
                _convolution(channels // 2, channels, kernel=3, stride=3),
            ]
        )
        self.pool = PoolTo(-(-height // 3), -(-width // 3), CONV_TINY_SIDE)
        self.stages = (
            Features(channels // 2, frames, height, width),
            Features(channels, frames, self.pool.height, self.pool.width),
        )

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return both stages of clips (B, C, T, H, W)."""
        frames = clips.shape[2] // 2
        both = torch.cat([clips, clips - clips.mean(2, keepdim=True)], dim=1)
        pairs = torch.unflatten(both, 2, (frames, 2)).permute(0, 2, 4, 5, 1, 3)
        # channels last: on a CPU the gradients of the convolutions then take half of the time
        first = self.layers[0](pairs.reshape(-1, *pairs.shape[2:4], 4 * clips.shape[1]).permute(0, 3, 1, 2))
        second = self.pool(self.layers[1](first))
        return tuple(torch.unflatten(maps, 0, (-1, frames)).transpose(1, 2) for maps in (first, second))


def halved(height: int, width: int) -> tuple[int, int]:
    """Return the size after a padded convolution of stride two."""
    return -(-height // 2), -(-width // 2)


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@dataclass(frozen=True)
class MViTStage:
    """A run of torchvision's MViT blocks of one width; the first block of a later stage halves the image."""

    width: int
    heads: int
    key_value_strides: tuple[int, ...]
    """Stride of keys and values in height and width, one for each block."""


@component("backbone")
def mvit_tiny(
    shape: ClipShape,
    *,
    width: FirstWidth = 32,
    drop_path: DropPath = 0.0,
) -> nn.Module:
    """torchvision's MViT blocks with tiny settings: three stages, four blocks."""
    need_size(shape, "mvit-tiny", pixels=32)
    if shape.frames % 2:
        raise InputError(f"backbone 'mvit-tiny': needs an even number of frames. Got {shape.frames} instead.")
    stages = (MViTStage(width, 1, (2,)), MViTStage(2 * width, 2, (1, 1)), MViTStage(2 * width, 2, (1,)))
    return MViT(shape, stages, drop_path, time_stride=2, pooled_frames=1)


@component("backbone")
def mfvit_xs(
    shape: ClipShape,
    *,
    width: FirstWidth = 96,
    drop_path: DropPath = 0.2,
    weights: WeightsFile = SCRATCH,
) -> nn.Module:
    """The paper's MFViT-XS: ten MViTv2 blocks in four stages, eight time steps from 8, 16 or 32 frames."""
    return start_from(mfvit_xs_trunk(shape, width, drop_path), "backbone", weights)


def mfvit_xs_trunk(
    shape: ClipShape, width: int, drop_path: float, make: Callable[..., MViT] | None = None
) -> MViT:
    """Return the paper's MFViT-XS with random weights, by default of `MViT`."""
    need_size(shape, "mfvit-xs", pixels=32)
    strides = {8: (1, 1), 16: (2, 1), 32: (2, 2)}
    if shape.frames not in strides:
        raise InputError(f"backbone 'mfvit-xs': takes 8, 16 or 32 frames. Got {shape.frames} instead.")
    time_stride, pooled_frames = strides[shape.frames]
    stages = (
        MViTStage(width, 1, (8,)),
        MViTStage(2 * width, 2, (4, 4)),
        MViTStage(4 * width, 4, (2, 2, 2, 2, 2)),
        MViTStage(8 * width, 8, (1, 1)),
    )
    return (make or MViT)(shape, stages, drop_path, time_stride=time_stride, pooled_frames=pooled_frames)


class MViT(nn.Module):
    """torchvision's MViTv2 blocks after a strided 3-D convolution; returns every stage.

    Pooled attention, decomposed relative positions, a class token, no absolute positions. A stage's output is
    what enters the next stage; only the last one is normalised.
    """

    def __init__(
        self,
        shape: ClipShape,
        stages: Sequence[MViTStage],
        drop_path: float,
        *,
        time_stride: int,
        pooled_frames: int,
    ) -> None:
        super().__init__()
        # slow to import
        from torchvision.models.video.mvit import MSBlockConfig
        from torchvision.models.video.mvit import MViT as TorchvisionMViT

        kernel = [3, 3, 3]
        inputs = stages[0].width
        settings = []
        for number, stage in enumerate(stages):
            for index, stride in enumerate(stage.key_value_strides):
                halve = 2 if number and not index else 1
                settings.append(
                    MSBlockConfig(
                        num_heads=stage.heads,
                        input_channels=inputs,
                        output_channels=stage.width,
                        kernel_q=kernel,
                        kernel_kv=kernel,
                        stride_q=[1, halve, halve],
                        stride_kv=[1, stride, stride],
                    )
                )
                inputs = stage.width
        trunk = TorchvisionMViT(
            spatial_size=shape[2:],
            temporal_size=shape.frames // pooled_frames,
            block_setting=settings,
            residual_pool=True,
            residual_with_cls_embed=False,
            rel_pos_embed=True,
            proj_after_attn=True,
            stochastic_depth_prob=drop_path,
            num_classes=1,
            patch_embed_stride=(time_stride, 4, 4),
        )
        self.pooled_frames = pooled_frames
        self.stem = nn.Conv3d(shape.channels, stages[0].width, (3, 7, 7), (time_stride, 4, 4), (1, 3, 3))
        self.class_token = trunk.pos_encoding.class_token
        self.blocks = trunk.blocks
        self.norm = trunk.norm
        self.first_blocks = [0, *accumulate(len(stage.key_value_strides) for stage in stages)][1:-1]
        frames = shape.frames // time_stride // pooled_frames
        height, width = (-(-side // 4) for side in shape[2:])
        self.stages = tuple(
            Features(stage.width, frames, -(-height // 2**number), -(-width // 2**number))
            for number, stage in enumerate(stages)
        )
        for block, setting in zip(self.blocks, settings, strict=True):
            self.adapt(block, (frames, height, width), setting.stride_q[1], setting.stride_kv[1])
            height, width = (-(-side // setting.stride_q[1]) for side in (height, width))

    def adapt(self, block: Any, grid: Grid, query_stride: int, key_stride: int) -> None:
        """Replace the parts of torchvision's block that are slow or not deterministic; its tensors stay."""
        block.attn = PooledAttention(block.attn, grid, query_stride, key_stride)
        if block.pool_skip is not None:
            block.pool_skip = TokenMaxPool()

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return every stage of clips (B, C, T, H, W), class tokens left out."""
        embedded = self.stem(clips).unflatten(2, (-1, self.pooled_frames)).mean(3)
        size = tuple(embedded.shape[2:])
        tokens = torch.cat(
            [self.class_token.expand(len(clips), 1, -1), embedded.flatten(2).transpose(1, 2)], dim=1
        )
        outputs, sizes = [], []
        for number, block in enumerate(self.blocks):
            if number in self.first_blocks:
                outputs.append(tokens)
                sizes.append(size)
            tokens, size = block(tokens, size)
        outputs.append(self.norm(tokens))
        sizes.append(size)
        if details is not None:
            details["stem"] = embedded.mean((2, 3, 4))
            details |= {f"stage{number}": stage.mean(1) for number, stage in enumerate(outputs)}
        return tuple(
            torch.unflatten(stage[:, 1:].transpose(1, 2), 2, size)
            for stage, size in zip(outputs, sizes, strict=True)
        )
