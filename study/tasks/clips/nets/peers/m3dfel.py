"""M3DFEL (Wang et al., CVPR 2023): a clip as a bag of instances, each a few frames, read by multi-instance learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from study.config.registry import Part, Range, component
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.attention import attend, head_width
from study.tasks.clips.nets.contract import Build, Details, Output
from study.tasks.clips.nets.peers.sizes import need_clip
from study.tasks.clips.nets.video.torchvision_backbones import Kinetics, Width
from study.tasks.clips.nets.video.torchvision_networks import Staged, basic_stem, video_resnet
from study.tasks.clips.nets.video.torchvision_weights import PublishedWeights, with_weights
from study.tasks.clips.nets.weights import SCRATCH, WeightsFile, start_from

HEADS = 8
INSTANCES = 4
EPSILON = 1e-5
R3D_18 = PublishedWeights("R3D_18_Weights.KINETICS400_V1", {"": "layers."}, "layers.stem")


@component("network")
def m3dfel(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    width: Width = 1.0,
    depth: Annotated[int, Range(1, 4), "layers of the LSTM; 2 as published"] = 2,
    kinetics: Annotated[Kinetics, "weights of the backbone"] = "scratch",
    weights: WeightsFile = SCRATCH,
    head: Annotated[Part, "feature vector to logits"] = "linear",
) -> nn.Module:
    """M3DFEL: R3D-18 on 4 instances of a clip, a bidirectional LSTM, dynamic multi-instance normalisation."""
    need_clip(shape, "m3dfel", pixels=16, multiple_of=INSTANCES, frames=INSTANCES)
    instance = shape._replace(frames=shape.frames // INSTANCES)
    backbone = with_weights(lambda clip: _r3d_18(clip, width), instance, "m3dfel", kinetics, width, R3D_18)
    network = M3DFEL(backbone, depth, lambda features: build("head", head, features, classes))
    return start_from(network, "network", weights)


def _r3d_18(shape: ClipShape, width: float) -> Staged:
    from torchvision.models.video.resnet import Conv3DSimple

    return video_resnet(shape, width, basic_stem(shape.channels, width), [Conv3DSimple] * 4)


class M3DFEL(nn.Module):
    """Backbone of instances, LSTM over them, gate by normalised attention, aggregation, head.

    Args:
        backbone: An instance (B, C, T, H, W) to its stages.
        depth: Layers of the LSTM.
        head: Builds the head for a number of features.
    """

    def __init__(self, backbone: nn.Module, depth: int, head: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.stages[-1].channels  # type: ignore[union-attr,index]
        self.lstm = nn.LSTM(channels, channels, num_layers=depth, batch_first=True, bidirectional=True)
        features = 2 * channels
        head_width(features, HEADS, "network.width")
        self.qkv = nn.Linear(features, 3 * features, bias=False)
        self.norm = DynamicNorm(features)
        self.aggregate = nn.Conv1d(INSTANCES, 1, kernel_size=3, padding=1)
        self.head = head(features)

    def forward(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of clips (B, C, T, H, W) in [0, 1]; there is no context residual."""
        instances = torch.unflatten(clips, 2, (INSTANCES, -1)).transpose(1, 2)
        features = self.backbone(instances.flatten(0, 1))[-1].mean((2, 3, 4))
        bag = self.lstm(features.unflatten(0, instances.shape[:2]))[0]
        qkv = self.qkv(bag).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(*qkv).transpose(1, 2).flatten(2)
        feature = self.aggregate(bag * self.norm(attended).sigmoid()).squeeze(1)
        logits = self.head(feature)
        if details is None:
            return Output(logits)
        details |= {"instance_features": features, "bag": bag, "clip_feature": feature}
        return Output(logits, None, details)


class DynamicNorm(nn.Module):
    """Dynamic multi-instance normalisation: statistics of a channel over the bag, mixed with those of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean_weights, self.variance_weights = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

    def forward(self, bag: Tensor) -> Tensor:
        """Return the bag (B, instances, channels), normalised."""
        variance, mean = torch.var_mean(bag, dim=1, keepdim=True)
        layer_mean = mean.mean(2, keepdim=True)
        layer_variance = (variance + mean**2).mean(2, keepdim=True) - layer_mean**2
        of_means, of_variances = self.mean_weights.softmax(0), self.variance_weights.softmax(0)
        mean = of_means[0] * mean + of_means[1] * layer_mean
        variance = of_variances[0] * variance + of_variances[1] * layer_variance
        return (bag - mean) / (variance + EPSILON).sqrt() * self.scale + self.shift
