"""Interfaces of the components of a network.

Feature maps are float tensors of shape (B, C, T, H, W): clips, channels, time steps, height, width. Every component
is a ``torch.nn.Module``; the protocols below define its call and its attributes. A component that gets a `Details`
dictionary records intermediate results in it; without one it does no extra work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from study.errors import InputError
from study.tasks.clips.data.contract import ClipShape

Details = dict[str, Tensor]
Build = Callable[..., Any]
"""``build(kind, config, *context)``, as `study.config.registry.Registry.build`."""


class Features(NamedTuple):
    """The shape of a feature map without its batch: channels, time steps, height and width."""

    channels: int
    frames: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """Positions in time and space."""
        return self.frames * self.height * self.width


class GroupShapes(NamedTuple):
    """Shapes of the two groups of a splitter; `static` is None without a split."""

    static: Features | None
    dynamic: Features


class Groups(NamedTuple):
    """The static and the dynamic group, each (B, C, T/2, H, W); `static` is None without a split."""

    static: Tensor | None
    dynamic: Tensor


class Lifted(NamedTuple):
    """Result of a lifting: both groups, and the difference of the static one from the clip's own average.

    ``context_residual`` is (B, C, T/2, H, W), or None without a lifting.
    """

    groups: Groups
    context_residual: Tensor | None


class Output(NamedTuple):
    """Result of a network: logits (B, classes), the residual that a context loss pulls to zero, and details."""

    logits: Tensor
    context_residual: Tensor | None = None
    details: Details = {}  # noqa: RUF012 - shared and never written to


class Network(Protocol):
    """Network: clips (B, C, T, H, W) in [0, 1] to `Output`; trained as ``loss(network(clips), targets)``."""

    def __call__(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of `clips` and the residual for the loss."""
        ...


class Backbone(Protocol):
    """Backbone, built from a `ClipShape`: clips (B, C, T, H, W) to one feature map a stage."""

    stages: tuple[Features, ...]

    def __call__(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return one feature map a stage."""
        ...


class Splitter(Protocol):
    """Splitter, built from `Features`: a feature map to its static and dynamic group."""

    groups: GroupShapes

    def __call__(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return both groups."""
        ...


class Lifting(Protocol):
    """Lifting, built from `GroupShapes`: both groups and their clip to `Lifted`, of the same shapes."""

    def __call__(self, groups: Groups, clip: Tensor, details: Details | None = None) -> Lifted:
        """Return both groups, lifted."""
        ...


class ReadOut(Protocol):
    """Read-out, built from `GroupShapes`: the groups to one feature vector a clip, (B, `features`)."""

    features: int

    def __call__(self, groups: Groups) -> Tensor:
        """Return one vector a clip."""
        ...


class Head(Protocol):
    """Head, built from the numbers of features and classes: (B, features) to logits (B, classes)."""

    def __call__(self, feature: Tensor) -> Tensor:
        """Return logits."""
        ...


class Loss(Protocol):
    """Loss: a network's output and targets, (B,) labels or (B, classes) shares, to a scalar.

    State that a loss or an augmentation carries from step to step must be in its ``state_dict``, such as the buffers
    of a module: a resumed training restores only that.
    """

    def __call__(self, output: Output, targets: Tensor) -> Tensor:
        """Return the loss."""
        ...


def need_size(shape: ClipShape, name: str, *, pixels: int) -> None:
    """Raise InputError unless the clip is at least `pixels` high and wide."""
    if min(shape.height, shape.width) < pixels:
        raise InputError(
            f"backbone {name!r}: needs images of at least {pixels} x {pixels} pixels. "
            f"Got {shape.height} x {shape.width} instead."
        )
