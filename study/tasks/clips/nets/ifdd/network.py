"""IFDD network: backbone, pyramid, splitter, lifting, read-out, head.

Wang and Chai, "Lifting Scheme-Based Implicit Disentanglement of Emotion-Related Facial Dynamics in the Wild",
AAAI 2025, arXiv 2412.13168.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from torch import Tensor, nn

from study.config.registry import Config, Part, Registry, component
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets.contract import Build, Details, Groups, Output
from study.tasks.clips.nets.ifdd.pyramid import Pyramid
from study.tasks.clips.nets.weights import SCRATCH, WeightsFile, start_from


class IFDD(nn.Module):
    """Video network that classifies a clip from the dynamics that its static context does not predict."""

    def __init__(
        self,
        backbone: nn.Module,
        pyramid: Pyramid,
        splitter: nn.Module,
        lifting: nn.Module,
        readout: nn.Module,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.splitter = splitter
        self.lifting = lifting
        self.readout = readout
        self.head = head

    def forward(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of clips (B, C, T, H, W) in [0, 1], and the context residual (B, C, T/2, H, W).

        Intermediate results are recorded in `details` if it is given, as means over the tokens of each group.
        """
        stages = self.backbone(clips, details)
        clip = self.pyramid(stages)
        split = self.splitter(clip, details)
        lifted = self.lifting(split, clip, details)
        feature = self.readout(lifted.groups)
        logits = self.head(feature)
        if details is None:
            return Output(logits, lifted.context_residual)
        record_groups(details, "split", split)
        record_groups(details, "lifted", lifted.groups)
        details["clip_feature"] = feature
        return Output(logits, lifted.context_residual, details)


def record_groups(details: Details, stage: str, groups: Groups) -> None:
    """Record each group's mean over its tokens, (B, C), and its root mean square in every time step, (B, T/2)."""
    for name, group in groups._asdict().items():
        if group is not None:
            details[f"{stage}_{name}"] = group.mean((2, 3, 4))
            details[f"{stage}_{name}_norm"] = group.square().mean((1, 3, 4)).sqrt()


def build_network(
    registry: Registry, config: Mapping[str, Mapping[str, Any]], shape: ClipShape, classes: int
) -> nn.Module:
    """Build the network that a resolved configuration describes.

    Args:
        registry: The registered components.
        config: ``{"network": {"name": …}, "backbone": {"name": …}, …}``: one table a kind.
        shape: The clips' shape.
        classes: Number of classes.

    Raises:
        InputError: The components do not fit together or do not fit the clips.
    """
    network = config["network"]
    parts = {kind: config[kind] for kind in registry.parts(network["name"])}
    built: nn.Module = registry.build("network", {**network, **parts}, shape, classes, registry.build)
    return built


def configured(registry: Registry, base: Mapping[str, Any]) -> dict[str, Config]:
    """Return the resolved configuration of a network and its components.

    Args:
        registry: The registered components.
        base: Components by kind, as in the ``[base]`` of a study or a recipe. Kinds that the network does not have are
            left out; missing kinds are the network's defaults.

    Raises:
        InputError: An unknown component or parameter, or a value that is not allowed.
    """
    network = registry.resolve("network", base["network"], "network")
    parts = {kind: base.get(kind, default) for kind, default in registry.parts(network["name"]).items()}
    return {"network": network, **{kind: registry.resolve(kind, part, kind) for kind, part in parts.items()}}


@component("network")
def ifdd(
    shape: ClipShape,
    classes: int,
    build: Build,
    *,
    backbone: Annotated[Part, "clips to feature maps"] = "conv-tiny",
    stages: Annotated[list[int] | None, "backbone stages to join, from 0; none: the last"] = None,
    splitter: Annotated[Part, "a clip's frames to a static and a dynamic group"] = "issm",
    lifting: Annotated[Part, "takes from the dynamic group what the static one predicts"] = {  # noqa: B006
        "name": "attention",
        "heads": 4,
        "drop_path": 0.0,
    },
    readout: Annotated[Part, "groups to one feature vector"] = "token-weights",
    head: Annotated[Part, "feature vector to logits"] = {"name": "linear", "dropout": 0.1},  # noqa: B006
    weights: WeightsFile = SCRATCH,
) -> nn.Module:
    """IFDD from any components; by default a small one that learns on a CPU."""
    trunk = build("backbone", backbone, shape)
    pyramid = Pyramid(trunk.stages, stages)
    split = build("splitter", splitter, pyramid.features)
    lift = build("lifting", lifting, split.groups)
    summary = build("readout", readout, split.groups)
    network = IFDD(trunk, pyramid, split, lift, summary, build("head", head, summary.features, classes))
    return start_from(network, "network", weights)
