"""Baselines: published networks, whole, under the same head, loss, data and training as IFDD.

Each is a backbone, a read-out of its last stage and a head; `plain` makes one of any backbone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor, nn

from study.tasks.clips.nets.video import temporal
from study.tasks.clips.nets.video import torchvision_backbones as backbones
from study.tasks.clips.nets.contract import Build, Details, Groups, GroupShapes, Output
from study.tasks.clips.nets.ifdd.readouts import mean
from study.tasks.clips.data.contract import ClipShape
from study.config.registry import Part, Range, component


class Baseline(nn.Module):
    """A backbone whose last stage is read out as it is: nothing is split, nothing lifted."""

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


def unsplit(backbone: Any) -> GroupShapes:
    """Return what a read-out is built from where a backbone's last stage is left whole."""
    return GroupShapes(None, backbone.stages[-1])


@component("network")
def plain(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    backbone: Annotated[Part, "clips to feature maps"] = "conv-tiny",
    readout: Annotated[Part, "last stage to one feature vector"] = "mean",
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """Any backbone with a read-out and a head: what it does without IFDD."""
    trunk = build("backbone", backbone, shape)
    summary = build("readout", readout, unsplit(trunk))
    return Baseline(trunk, summary, build("head", head, summary.features, classes))


def averaged(trunk: nn.Module, classes: int, build: Build, head: Part) -> Baseline:
    """Return a backbone with the mean over time and space, and a head."""
    summary: Any = mean(unsplit(trunk))
    return Baseline(trunk, summary, build("head", head, summary.features, classes))


@component("network")
def r3d_18(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"] = "scratch",
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """ResNet-18 of 3-D convolutions (Tran et al., CVPR 2018)."""
    return averaged(backbones.r3d_18(shape, width=width, weights=weights), classes, build, head)


@component("network")
def mc3_18(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"] = "scratch",
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """ResNet-18 of 3-D, then 2-D convolutions (Tran et al., CVPR 2018)."""
    return averaged(backbones.mc3_18(shape, width=width, weights=weights), classes, build, head)


@component("network")
def r2plus1d_18(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"] = "scratch",
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """ResNet-18 of convolutions over space, then time (Tran et al., CVPR 2018)."""
    return averaged(backbones.r2plus1d_18(shape, width=width, weights=weights), classes, build, head)


@component("network")
def s3d(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"] = "scratch",
    norm_momentum: Annotated[
        float,
        Range(0.001, 1),
        "a batch's share in the norms' running statistics; torchvision's 0.001 needs thousands of steps",
    ] = 0.1,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """Separable 3-D Inception (Xie et al., ECCV 2018), averaged before its classifier."""
    return averaged(
        backbones.s3d(shape, width=width, weights=weights, norm_momentum=norm_momentum), classes, build, head
    )


@component("network")
def swin3d_t(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"] = "scratch",
    drop_path: Annotated[float, Range(0, 0.9), "stochastic depth of the last block, in training"] = 0.1,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """Video Swin Transformer, tiny (Liu et al., CVPR 2022)."""
    return averaged(
        backbones.swin3d_t(shape, width=width, weights=weights, drop_path=drop_path), classes, build, head
    )


@component("network")
def mvit_v2_s(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "kinetics-400"], "random, or torchvision's"] = "scratch",
    drop_path: Annotated[float, Range(0, 0.9), "stochastic depth of the last block, in training"] = 0.2,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """Multiscale Vision Transformer v2, small (Li et al., CVPR 2022), read from its class token."""
    trunk: Any = backbones.mvit_v2_s(shape, width=width, weights=weights, drop_path=drop_path)
    return averaged(backbones.ClassToken(trunk), classes, build, head)


@component("network")
def resnet18_lstm(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "imagenet-1k"], "random, or torchvision's"] = "scratch",
    layers: Annotated[int, Range(1, 4), "layers of the LSTM"] = 1,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """ResNet-18 on every frame, then an LSTM and its last state."""
    trunk = backbones.resnet_18(shape, width=width, weights=weights)
    summary: Any = temporal.lstm(unsplit(trunk), layers=layers)
    return Baseline(trunk, summary, build("head", head, summary.features, classes))


@component("network")
def resnet18_gru(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "imagenet-1k"], "random, or torchvision's"] = "scratch",
    layers: Annotated[int, Range(1, 4), "layers of the GRU"] = 1,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """ResNet-18 on every frame, then a GRU and its last state."""
    trunk = backbones.resnet_18(shape, width=width, weights=weights)
    summary: Any = temporal.gru(unsplit(trunk), layers=layers)
    return Baseline(trunk, summary, build("head", head, summary.features, classes))


@component("network")
def resnet18_transformer(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Annotated[float, Range(0.05, 2), "multiplier of all channels; 1 as published"] = 1.0,
    weights: Annotated[Literal["scratch", "imagenet-1k"], "random, or torchvision's"] = "scratch",
    layers: Annotated[int, Range(1, 4), "layers of the Transformer"] = 1,
    heads: Annotated[int, Range(1, 64), "attention heads; must divide the channels, 512 x width"] = 8,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """ResNet-18 on every frame, then a Transformer over time and the mean."""
    trunk = backbones.resnet_18(shape, width=width, weights=weights)
    summary: Any = temporal.transformer(unsplit(trunk), layers=layers, heads=heads)
    return Baseline(trunk, summary, build("head", head, summary.features, classes))
