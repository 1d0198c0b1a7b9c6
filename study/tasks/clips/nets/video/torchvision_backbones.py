"""Published networks as backbones, made of torchvision's blocks, at any width and for any number of channels.

At width 1 and with three channels each has torchvision's tensors under torchvision's names, so that its published
weights fit. torchvision is slow to import, so the builders import it when they are called.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from study.config.registry import Range, component
from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import need_size
from study.tasks.clips.nets.video.backbones import DropPath, MViT, MViTStage
from study.tasks.clips.nets.video.torchvision_networks import (
    Swin,
    basic_stem,
    factored_stem,
    frame_resnet,
    scaled,
    separable_inception,
    video_resnet,
)
from study.tasks.clips.nets.video.torchvision_weights import PublishedWeights, with_weights

Width = Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"]
Kinetics = Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's weights"]
ImageNet = Annotated[Literal["scratch", "imagenet-1k"], "random, or torchvision's weights"]
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
"""Prefixes of torchvision's names of an MViT's tensors to those of `backbones.MViT`."""


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

    With less, the last stage would have only positions computed from padding.
    """
    need_size(shape, name, pixels=pixels)
    if shape.frames < frames:
        raise InputError(f"backbone {name!r}: needs at least {frames} frames. Got {shape.frames} instead.")
