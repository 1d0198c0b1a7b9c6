"""What the parts of a network hand to one another.

Feature maps are float tensors of shape (B, C, T, H, W): clips, channels, time steps, height, width.
Every part is a ``torch.nn.Module``; the protocols below say what it is called with and what it tells about
itself. A part that is handed a `Details` dictionary writes into it what it did; without one it does no
extra work.
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
    """The shapes of the two groups that a splitter makes; `static` is None where nothing is split."""

    static: Features | None
    dynamic: Features


class Groups(NamedTuple):
    """The static and the dynamic group, each (B, C, T/2, H, W); `static` is None where nothing is split."""

    static: Tensor | None
    dynamic: Tensor


class Lifted(NamedTuple):
    """What a lifting returns: both groups, and how far the static one is from the clip's own average.

    ``context_residual`` is (B, C, T/2, H, W), or None where there is nothing to constrain.
    """

    groups: Groups
    context_residual: Tensor | None


class Output(NamedTuple):
    """What a network returns: logits (B, classes), the map that a context loss pulls to zero, and details."""

    logits: Tensor
    context_residual: Tensor | None = None
    details: Details = {}  # noqa: RUF012 - shared and empty: only a dictionary that was handed in is written to


class Network(Protocol):
    """A whole network: clips (B, C, T, H, W) in [0, 1] to `Output`; trained as ``loss(network(clips), targets)``."""

    def __call__(self, clips: Tensor, details: Details | None = None) -> Output:
        """Return the logits of `clips` and what else the loss needs."""
        ...


class Backbone(Protocol):
    """Built from a `ClipShape`: clips (B, C, T, H, W) to one feature map a stage."""

    stages: tuple[Features, ...]

    def __call__(self, clips: Tensor, details: Details | None = None) -> tuple[Tensor, ...]:
        """Return one feature map a stage."""
        ...


class Splitter(Protocol):
    """Built from the clip's `Features`: a feature map to its static and dynamic group."""

    groups: GroupShapes

    def __call__(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return both groups."""
        ...


class Lifting(Protocol):
    """Built from `GroupShapes`: both groups and the clip that they come from to `Lifted`, same shapes."""

    def __call__(self, groups: Groups, clip: Tensor, details: Details | None = None) -> Lifted:
        """Return both groups, lifted."""
        ...


class ReadOut(Protocol):
    """Built from `GroupShapes`: the groups to one feature vector a clip, (B, `features`)."""

    features: int

    def __call__(self, groups: Groups) -> Tensor:
        """Return one vector a clip."""
        ...


class Head(Protocol):
    """Built from the number of features and of classes: (B, features) to logits (B, classes)."""

    def __call__(self, feature: Tensor) -> Tensor:
        """Return logits."""
        ...


class Loss(Protocol):
    """Built from nothing: a network's output and targets, (B,) labels or (B, classes) shares, to a scalar.

    A loss that remembers something from step to step keeps it where its ``state_dict`` holds it, as a module's
    buffers are: a training that was killed goes on with what that holds. So does an augmentation.
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
