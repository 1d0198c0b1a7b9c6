"""Published networks as backbones, made of torchvision's blocks: any width, any number of channels.

At width 1 and with three channels each has torchvision's tensors under torchvision's names, so that its
published weights fit. A stage ends where the image is next halved. torchvision is slow to import: the builders
import it when they are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from study.config.registry import Range, component
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Details, Features, need_size
from study.tasks.clips.nets.video.backbones import DropPath, MViT, MViTStage, halved
from study.tasks.clips.nets.video.published import PublishedWeights, with_weights

Width = Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"]
Kinetics = Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"]
ImageNet = Annotated[Literal["scratch", "imagenet-1k"], "random, or torchvision's"]
NormMomentum = Annotated[
    float,
    Range(0.001, 1),
    "a batch's share in the norms' running statistics; torchvision's 0.001 needs thousands of steps",
]


@component("backbone")
def r3d_18(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
) -> nn.Module:
    """ResNet-18 of 3-D convolutions (Tran et al., CVPR 2018); time is halved three times."""
    from torchvision.models.video.resnet import Conv3DSimple

    need_clip(shape, "r3d-18", frames=8, pixels=16)
    return with_weights(
        lambda clip: video_resnet(clip, width, basic_stem(clip.channels, width), [Conv3DSimple] * 4),
        shape,
        "r3d-18",
        weights,
        width,
        PublishedWeights("R3D_18_Weights.KINETICS400_V1", {"": "layers."}, "layers.stem"),
    )


@component("backbone")
def mc3_18(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
) -> nn.Module:
    """ResNet-18 of 3-D, then 2-D convolutions (Tran et al., CVPR 2018); every frame is kept."""
    from torchvision.models.video.resnet import Conv3DNoTemporal, Conv3DSimple

    need_clip(shape, "mc3-18", frames=2, pixels=16)
    convolutions = [Conv3DSimple, Conv3DNoTemporal, Conv3DNoTemporal, Conv3DNoTemporal]
    return with_weights(
        lambda clip: video_resnet(clip, width, basic_stem(clip.channels, width), convolutions),
        shape,
        "mc3-18",
        weights,
        width,
        PublishedWeights("MC3_18_Weights.KINETICS400_V1", {"": "layers."}, "layers.stem"),
    )


@component("backbone")
def r2plus1d_18(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
) -> nn.Module:
    """ResNet-18 of convolutions over space, then time (Tran et al., CVPR 2018); time is halved three times."""
    from torchvision.models.video.resnet import Conv2Plus1D

    need_clip(shape, "r2plus1d-18", frames=8, pixels=16)
    return with_weights(
        lambda clip: video_resnet(clip, width, factored_stem(clip.channels, width), [Conv2Plus1D] * 4),
        shape,
        "r2plus1d-18",
        weights,
        width,
        PublishedWeights("R2Plus1D_18_Weights.KINETICS400_V1", {"": "layers."}, "layers.stem"),
    )


@component("backbone")
def s3d(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    norm_momentum: NormMomentum = 0.1,
) -> nn.Module:
    """Separable 3-D Inception (Xie et al., ECCV 2018); time is halved three times."""
    need_clip(shape, "s3d", frames=8, pixels=32)
    return with_weights(
        lambda clip: separable_inception(clip, width, norm_momentum),
        shape,
        "s3d",
        weights,
        width,
        PublishedWeights("S3D_Weights.KINETICS400_V1", {"features.": "layers."}, "layers.0"),
    )


@component("backbone")
def swin3d_t(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    drop_path: DropPath = 0.1,
) -> nn.Module:
    """Video Swin Transformer, tiny (Liu et al., CVPR 2022); time is halved once."""
    need_clip(shape, "swin3d-t", frames=4, pixels=32)
    return with_weights(
        lambda clip: Swin(clip, width, drop_path),
        shape,
        "swin3d-t",
        weights,
        width,
        PublishedWeights("Swin3D_T_Weights.KINETICS400_V1", {"": ""}, "patch_embed"),
    )


MVIT_PREFIXES = {
    "conv_proj.": "stem.",
    "pos_encoding.class_token": "class_token",
    "blocks.": "blocks.",
    "norm.": "norm.",
}
"""Beginnings of torchvision's names of an MViT's tensors to those of `MViT` here."""


@component("backbone")
def mvit_v2_s(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    drop_path: DropPath = 0.2,
) -> nn.Module:
    """Multiscale Vision Transformer v2, small (Li et al., CVPR 2022); time is halved once."""
    need_clip(shape, "mvit-v2-s", frames=4, pixels=32)
    if shape.frames % 2:
        raise InputError(f"backbone 'mvit-v2-s': needs an even number of frames. Got {shape.frames} instead.")
    first = scaled(96, width)
    stages = (
        MViTStage(first, 1, (8,)),
        MViTStage(2 * first, 2, (4, 4)),
        MViTStage(4 * first, 4, (2,) * 11),
        MViTStage(8 * first, 8, (1, 1)),
    )
    return with_weights(
        lambda clip: MViT(clip, stages, drop_path, time_stride=2, pooled_frames=1),
        shape,
        "mvit-v2-s",
        weights,
        width,
        PublishedWeights("MViT_V2_S_Weights.KINETICS400_V1", MVIT_PREFIXES, "stem", size=(16, 224, 224)),
    )


@component("backbone")
def resnet_18(
    shape: ClipShape,
    *,
    width: Width = 1.0,
    weights: ImageNet = "scratch",
) -> nn.Module:
    """ResNet-18 on every frame by itself (He et al., CVPR 2016)."""
    need_clip(shape, "resnet-18", frames=1, pixels=32)
    return with_weights(
        lambda clip: frame_resnet(clip, width),
        shape,
        "resnet-18",
        weights,
        width,
        PublishedWeights("ResNet18_Weights.IMAGENET1K_V1", {"": "layers."}, "layers.conv1"),
    )


def need_clip(shape: ClipShape, name: str, *, frames: int, pixels: int) -> None:
    """Raise InputError unless the clip has at least `frames` frames of `pixels` x `pixels`.

    The least that leaves the last stage one position that is not made of padding alone.
    """
    need_size(shape, name, pixels=pixels)
    if shape.frames < frames:
        raise InputError(f"backbone {name!r}: needs at least {frames} frames. Got {shape.frames} instead.")


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times `width`, at least one."""
    return max(1, round(channels * width))


class Staged(nn.Module):
    """Layers in a row; the outputs of some of them are the backbone's stages."""

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
    """Layers for images, which see every frame by itself."""

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
    return start(Staged(layers, stages), nn.Conv3d)


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
    return start(ByFrame(layers, stages), nn.Conv2d)


def shortcut(convolution: Any, norm: Any, inputs: int, outputs: int, stride: Any) -> nn.Sequential:
    """Return what stands beside a residual block that changes its input's shape."""
    return nn.Sequential(
        convolution(inputs, outputs, kernel_size=1, stride=stride, bias=False), norm(outputs)
    )


def start(network: Staged, convolution: type[nn.Conv2d] | type[nn.Conv3d]) -> Staged:
    """Draw the weights of convolutions as residual networks are started (He et al., ICCV 2015)."""
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
        # the last pool has no padding: what is left over is dropped
        "15": Features(outputs[8], -(-frames // 2) // 2, sixteenth[0] // 2, sixteenth[1] // 2),
    }
    return Staged({str(number): layer for number, layer in enumerate(layers)}, stages)


class Swin(nn.Module):
    """torchvision's 3-D Swin Transformer, tiny: every stage before the patches are merged, the last one normed.

    Windows of 8 x 7 x 7 shrink to the map where that is smaller. Heads keep their number; each is
    32 x width channels wide.
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
        for number, layer in enumerate(self.features):  # blocks and merging by turns
            tokens = layer(tokens)
            if number % 2 == 0:
                outputs.append(tokens)
        outputs[-1] = self.norm(outputs[-1])
        return tuple(stage.permute(0, 4, 1, 2, 3) for stage in outputs)


class ClassToken(nn.Module):
    """An MViT whose only stage is its class token, as a map of one position.

    What the last block does with the positions of its queries reaches the other tokens only: `unused` names it.
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
