"""Networks made of torchvision's blocks, at any width and for any number of channels.

At width 1 and with three channels each has torchvision's tensors under torchvision's names. torchvision is slow to
import, so it is imported where a network is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Details, Features
from study.tasks.clips.nets.video.backbones import MViT, halved


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times `width`, at least one."""
    return max(1, round(channels * width))


class Staged(nn.Module):
    """Sequence of layers; the outputs of some of them are the stages."""

    def __init__(self, layers: Mapping[str, nn.Module], stages: Mapping[str, Features]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.ends = frozenset(stages)
        self.stages = tuple(stages.values())

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return every stage of clips (B, C, T, H, W)."""
        outputs = []
        for name, layer in self.layers.items():
            clips = layer(clips)
            if name in self.ends:
                outputs.append(clips)
        return tuple(outputs)


class ByFrame(Staged):
    """Sequence of image layers, applied to every frame by itself."""

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return every stage of clips (B, C, T, H, W)."""
        frames = clips.shape[2]
        stages = super().forward(clips.transpose(1, 2).flatten(0, 1))
        return tuple(torch.unflatten(stage, 0, (-1, frames)).transpose(1, 2) for stage in stages)


RESNET_PLANES = (64, 128, 256, 512)


def video_resnet(shape: ClipShape, width: float, stem: nn.Module, convolutions: Sequence[Any]) -> Staged:
    """Return an 18-layer residual network of torchvision's video blocks; one kind of convolution a stage."""
    from torchvision.models.video.resnet import BasicBlock

    layers, stages = {"stem": stem}, {}
    inputs, size = scaled(RESNET_PLANES[0], width), (shape.frames, *halved(shape.height, shape.width))
    for number, (planes, convolution) in enumerate(zip(RESNET_PLANES, convolutions, strict=True)):
        stride, outputs = 2 if number else 1, scaled(planes, width)
        strides = convolution.get_downsample_stride(stride)
        skip = shortcut(nn.Conv3d, nn.BatchNorm3d, inputs, outputs, strides) if number else None
        layers[f"layer{number + 1}"] = nn.Sequential(
            BasicBlock(inputs, outputs, convolution, stride, skip),
            BasicBlock(outputs, outputs, convolution),
        )
        inputs, size = outputs, tuple(-(-length // step) for length, step in zip(size, strides, strict=True))
        stages[f"layer{number + 1}"] = Features(outputs, *size)
    return init_weights(Staged(layers, stages), nn.Conv3d)


def frame_resnet(shape: ClipShape, width: float) -> Staged:
    """Return an 18-layer residual network of torchvision's blocks for images."""
    from torchvision.models.resnet import BasicBlock

    inputs, size = scaled(RESNET_PLANES[0], width), halved(*halved(shape.height, shape.width))
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(shape.channels, inputs, kernel_size=7, stride=2, padding=3, bias=False),
        "bn1": nn.BatchNorm2d(inputs),
        "relu": nn.ReLU(inplace=True),
        "maxpool": nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    }
    stages = {}
    for number, planes in enumerate(RESNET_PLANES):
        stride, outputs = 2 if number else 1, scaled(planes, width)
        skip = shortcut(nn.Conv2d, nn.BatchNorm2d, inputs, outputs, stride) if number else None
        layers[f"layer{number + 1}"] = nn.Sequential(
            BasicBlock(inputs, outputs, stride, skip), BasicBlock(outputs, outputs)
        )
        inputs, size = outputs, halved(*size) if number else size
        stages[f"layer{number + 1}"] = Features(outputs, shape.frames, *size)
    return init_weights(ByFrame(layers, stages), nn.Conv2d)


def shortcut(convolution: Any, norm: Any, inputs: int, outputs: int, stride: Any) -> nn.Sequential:
    """Return the skip connection of a residual block that changes the shape."""
    return nn.Sequential(
        convolution(inputs, outputs, kernel_size=1, stride=stride, bias=False), norm(outputs)
    )


def init_weights(network: Staged, convolution: type[nn.Conv2d] | type[nn.Conv3d]) -> Staged:
    """Initialise convolutions as in residual networks (He et al., ICCV 2015)."""
    for module in network.modules():
        if isinstance(module, convolution):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def basic_stem(channels: int, width: float) -> nn.Sequential:
    """Return the stem of the 3-D residual networks: 3 x 7 x 7, the image halved."""
    outputs = scaled(RESNET_PLANES[0], width)
    return nn.Sequential(
        nn.Conv3d(channels, outputs, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )


def factored_stem(channels: int, width: float) -> nn.Sequential:
    """Return the stem of R(2+1)D: 7 x 7 in space, then 3 in time."""
    middle, outputs = scaled(45, width), scaled(RESNET_PLANES[0], width)
    return nn.Sequential(
        nn.Conv3d(channels, middle, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, outputs, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(inplace=True),
    )


INCEPTION_BRANCHES = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
"""Each block's channels: 1x1 branch; two branches' reduction and 3x3; the pooled branch."""


def separable_inception(shape: ClipShape, width: float, norm_momentum: float) -> Staged:
    """Return S3D up to its last block, as torchvision numbers its layers."""
    from torchvision.models.video.s3d import SepInceptionBlock3D, TemporalSeparableConv
    from torchvision.ops import Conv3dNormActivation

    norm = partial(nn.BatchNorm3d, eps=0.001, momentum=norm_momentum)
    early, inputs = scaled(64, width), scaled(192, width)
    blocks, outputs = [], []
    for branches in INCEPTION_BRANCHES:
        sizes = [scaled(channels, width) for channels in branches]
        blocks.append(SepInceptionBlock3D(inputs, *sizes, norm))
        inputs = sizes[0] + sizes[2] + sizes[4] + sizes[5]
        outputs.append(inputs)
    layers = [
        TemporalSeparableConv(shape.channels, early, 7, 2, 3, norm),
        nn.MaxPool3d(kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        Conv3dNormActivation(early, early, kernel_size=1, norm_layer=norm),
        TemporalSeparableConv(early, scaled(192, width), 3, 1, 1, norm),
        nn.MaxPool3d(kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        *blocks[:2],
        nn.MaxPool3d(kernel_size=3, stride=2, padding=1),
        *blocks[2:7],
        nn.MaxPool3d(kernel_size=2, stride=2),
        *blocks[7:],
    ]
    frames = -(-shape.frames // 2)
    quarter = halved(*halved(shape.height, shape.width))
    eighth = halved(*quarter)
    sixteenth = halved(*eighth)
    stages = {
        "3": Features(scaled(192, width), frames, *quarter),
        "6": Features(outputs[1], frames, *eighth),
        "12": Features(outputs[6], -(-frames // 2), *sixteenth),
        # the last pool has no padding and drops incomplete windows
        "15": Features(outputs[8], -(-frames // 2) // 2, sixteenth[0] // 2, sixteenth[1] // 2),
    }
    return Staged({str(number): layer for number, layer in enumerate(layers)}, stages)


class Swin(nn.Module):
    """torchvision's 3-D Swin Transformer, tiny: stages before patch merging, the last one normalised.

    Windows of 8 x 7 x 7 shrink to a smaller map. `width` scales the 32 channels of a head, not the number of heads.
    """

    def __init__(self, shape: ClipShape, width: float, drop_path: float) -> None:
        super().__init__()
        from torchvision.models.video.swin_transformer import PatchEmbed3d, SwinTransformer3d

        heads = [3, 6, 12, 24]
        first = heads[0] * scaled(32, width)
        trunk = SwinTransformer3d(
            patch_size=[2, 4, 4],
            embed_dim=first,
            depths=[2, 2, 6, 2],
            num_heads=heads,
            window_size=[8, 7, 7],
            stochastic_depth_prob=drop_path,
            num_classes=1,
            patch_embed=partial(PatchEmbed3d, in_channels=shape.channels),
        )
        self.patch_embed, self.features, self.norm = trunk.patch_embed, trunk.features, trunk.norm
        frames, height, width_ = -(-shape.frames // 2), -(-shape.height // 4), -(-shape.width // 4)
        self.stages = tuple(
            Features(first * 2**n, frames, -(-height // 2**n), -(-width_ // 2**n)) for n in range(len(heads))
        )

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return every stage of clips (B, C, T, H, W)."""
        tokens, outputs = self.patch_embed(clips), []
        for number, layer in enumerate(self.features):  # blocks and patch merging alternate
            tokens = layer(tokens)
            if number % 2 == 0:
                outputs.append(tokens)
        outputs[-1] = self.norm(outputs[-1])
        return tuple(stage.permute(0, 4, 1, 2, 3) for stage in outputs)


class ClassToken(nn.Module):
    """MViT whose only stage is its class token, as a map of one position.

    `unused` names the tensors of the last block that affect only the other tokens.
    """

    def __init__(self, trunk: MViT) -> None:
        super().__init__()
        self.trunk = trunk
        attention = f"trunk.blocks.{len(trunk.blocks) - 1}.attn"
        tables = [f"{attention}.rel_pos_{axis}" for axis in "hwt"]
        self.unused = frozenset([*tables, f"{attention}.pool_q.pool.weight"])
        self.stages = (Features(trunk.stages[-1].channels, 1, 1, 1),)

    def forward(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return the class token of clips (B, C, T, H, W) as (B, C, 1, 1, 1)."""
        trunk = self.trunk
        embedded = trunk.stem(clips)
        size = tuple(embedded.shape[2:])
        tokens = torch.cat(
            [trunk.class_token.expand(len(clips), 1, -1), embedded.flatten(2).transpose(1, 2)], dim=1
        )
        for block in trunk.blocks:
            tokens, size = block(tokens, size)
        return (trunk.norm(tokens)[:, 0, :, None, None, None],)
