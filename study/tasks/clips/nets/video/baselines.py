"""Baselines: published networks with the same head, loss, data and training as IFDD.

Each is a backbone, a read-out of its last stage and a head; `plain` combines any backbone with them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from torch import Tensor, nn

from study.config.registry import Part, Range, component
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Build, Details, Groups, GroupShapes, Output
from study.tasks.clips.nets.ifdd.readouts import mean
from study.tasks.clips.nets.video import temporal
from study.tasks.clips.nets.video import torchvision_backbones as backbones
from study.tasks.clips.nets.video.backbones import DropPath
from study.tasks.clips.nets.video.temporal import Layers
from study.tasks.clips.nets.video.torchvision_backbones import ImageNet, Kinetics, NormMomentum, Width
from study.tasks.clips.nets.video.torchvision_networks import ClassToken

HeadPart = Annotated[Part, "feature vector to logits"]


class Baseline(nn.Module):
    """Backbone, read-out of its last stage and head, without splitter and lifting."""

    def __init__(self, backbone: nn.Module, readout: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.readout = readout
        self.head = head
        self.unused = frozenset(f"backbone.{name}" for name in getattr(backbone, "unused", ()))

    def forward(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of clips (B, C, T, H, W) in [0, 1]; there is no context residual."""
        feature = self.readout(Groups(None, self.backbone(clips, details)[-1]))
        logits = self.head(feature)
        if details is None:
            return Output(logits)
        details["clip_feature"] = feature
        return Output(logits, None, details)


@component("network")
def plain(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    backbone: Annotated[Part, "clips to feature maps"] = "conv-tiny",
    readout: Annotated[Part, "last stage to one feature vector"] = "mean",
    head: HeadPart = "linear",
) -> nn.Module:
    """Any backbone with a read-out and a head, without IFDD."""
    trunk = build("backbone", backbone, shape)
    return baseline(trunk, partial(build, "readout", readout), classes, build, head)


def baseline(
    trunk: Any, readout: Callable[[GroupShapes], Any], classes: int, build: Build, head: Part
) -> Baseline:
    """Return a backbone with a read-out, built for the shape of its last stage, and a head."""
    summary = readout(GroupShapes(None, trunk.stages[-1]))
    return Baseline(trunk, summary, build("head", head, summary.features, classes))


@component("network")
def r3d_18(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    head: HeadPart = "linear",
) -> nn.Module:
    """ResNet-18 of 3-D convolutions (Tran et al., CVPR 2018)."""
    return baseline(backbones.r3d_18(shape, width=width, weights=weights), mean, classes, build, head)


@component("network")
def mc3_18(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    head: HeadPart = "linear",
) -> nn.Module:
    """ResNet-18 of 3-D, then 2-D convolutions (Tran et al., CVPR 2018)."""
    return baseline(backbones.mc3_18(shape, width=width, weights=weights), mean, classes, build, head)


@component("network")
def r2plus1d_18(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    head: HeadPart = "linear",
) -> nn.Module:
    """ResNet-18 of convolutions over space, then time (Tran et al., CVPR 2018)."""
    return baseline(backbones.r2plus1d_18(shape, width=width, weights=weights), mean, classes, build, head)


@component("network")
def s3d(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    norm_momentum: NormMomentum = 0.1,
    head: HeadPart = "linear",
) -> nn.Module:
    """Separable 3-D Inception (Xie et al., ECCV 2018), averaged before its classifier."""
    trunk = backbones.s3d(shape, width=width, weights=weights, norm_momentum=norm_momentum)
    return baseline(trunk, mean, classes, build, head)


@component("network")
def swin3d_t(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    drop_path: DropPath = 0.1,
    head: HeadPart = "linear",
) -> nn.Module:
    """Video Swin Transformer, tiny (Liu et al., CVPR 2022)."""
    trunk = backbones.swin3d_t(shape, width=width, weights=weights, drop_path=drop_path)
    return baseline(trunk, mean, classes, build, head)


@component("network")
def mvit_v2_s(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: Kinetics = "scratch",
    drop_path: DropPath = 0.2,
    head: HeadPart = "linear",
) -> nn.Module:
    """Multiscale Vision Transformer v2, small (Li et al., CVPR 2022), read from its class token."""
    trunk: Any = backbones.mvit_v2_s(shape, width=width, weights=weights, drop_path=drop_path)
    return baseline(ClassToken(trunk), mean, classes, build, head)


@component("network")
def resnet18_lstm(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: ImageNet = "scratch",
    layers: Annotated[Layers, "layers of the LSTM"] = 1,
    head: HeadPart = "linear",
) -> nn.Module:
    """ResNet-18 on every frame, then an LSTM and its last state."""
    trunk = backbones.resnet_18(shape, width=width, weights=weights)
    return baseline(trunk, partial(temporal.lstm, layers=layers), classes, build, head)


@component("network")
def resnet18_gru(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: ImageNet = "scratch",
    layers: Annotated[Layers, "layers of the GRU"] = 1,
    head: HeadPart = "linear",
) -> nn.Module:
    """ResNet-18 on every frame, then a GRU and its last state."""
    trunk = backbones.resnet_18(shape, width=width, weights=weights)
    return baseline(trunk, partial(temporal.gru, layers=layers), classes, build, head)


@component("network")
def resnet18_transformer(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    weights: ImageNet = "scratch",
    layers: Annotated[Layers, "layers of the Transformer"] = 1,
    heads: Annotated[int, Range(1, 64), "attention heads; must divide the channels, 512 x width"] = 8,
    head: HeadPart = "linear",
) -> nn.Module:
    """ResNet-18 on every frame, then a Transformer over time and the mean."""
    trunk = backbones.resnet_18(shape, width=width, weights=weights)
    return baseline(trunk, partial(temporal.transformer, layers=layers, heads=heads), classes, build, head)
