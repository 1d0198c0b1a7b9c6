"""Splitters: a clip's frames to a static group (like the rest of the clip) and a dynamic one (unlike it)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from study.config.registry import Range, component
from study.errors import InputError
from study.tasks.clips.nets.contract import Details, Features, Groups, GroupShapes
from study.tasks.clips.nets.resampling import PoolTo, hat_weights, sample_frames

PositionForm = Annotated[
    Literal["corrected", "released"],
    "sampling positions at zero offset: on the frames, or as in the authors' code",
]
Scale = Annotated[
    Literal["1/C", "1/sqrt(d)"],
    "factor of the similarity: by the clip's channels (released) or by the tokens' length",
]
OffsetHeads = Literal["two", "shared"]
SIMILARITY_SIDE = 7
SIMILARITY_CHANNELS = 7


def halved(features: Features, name: str) -> GroupShapes:
    """Return the shapes of two groups of half the frames; InputError if they cannot be halved."""
    if features.frames % 2 or features.frames < 4:
        raise InputError(
            f"splitter {name!r}: needs an even number of time steps, at least 4, after the backbone. "
            f"Got {features.frames} instead: choose other frames or another backbone, or splitter 'none' "
            "with lifting 'none'."
        )
    group = features._replace(frames=features.frames // 2)
    return GroupShapes(group, group)


@component("splitter")
def none(features: Features) -> nn.Module:
    """No split: the read-out sees all tokens; only with lifting 'none'."""
    return NoSplit(features)


@component("splitter")
def even_odd(features: Features) -> nn.Module:
    """Even frames are static and odd frames dynamic: the lazy wavelet."""
    steps = torch.arange(features.frames)
    return FixedSplit(features, "even-odd", steps[0::2], steps[1::2])


@component("splitter")
def issm(
    features: Features,
    *,
    positions: PositionForm = "corrected",
    receptive_field: Annotated[
        float, Range(0, 8), "largest offset in time steps; 0 is the same as frozen"
    ] = 2.0,
    scale: Scale = "1/C",
    offset_heads: Annotated[OffsetHeads, "a linear layer for each group, or one for both"] = "two",
    frozen: Annotated[bool, "keep every offset at zero: resampling without content"] = False,
) -> nn.Module:
    """Soft resampling around even and odd frames by learned offsets from the similarity between frames."""
    if frozen or receptive_field == 0:
        return FrozenISSM(features, positions)
    return ISSM(features, positions, receptive_field, scale, offset_heads)


@component("splitter")
def offsets(
    features: Features,
    *,
    positions: PositionForm = "corrected",
    receptive_field: Annotated[float, Range(0.01, 8), "largest offset in time steps"] = 2.0,
) -> nn.Module:
    """Learned offsets that are the same for every clip: ISSM without its similarity."""
    return LearnedOffsets(features, positions, receptive_field)


@component("splitter")
def weighting(
    features: Features,
    *,
    scale: Scale = "1/sqrt(d)",
) -> nn.Module:
    """Frames averaged by softmax of their similarity (static) or dissimilarity (dynamic), without positions."""
    return Weighting(features, scale)


@component("splitter")
def top_k(features: Features) -> nn.Module:
    """The half of the frames most like the others is static, the rest dynamic: a hard choice for each clip."""
    return TopK(features)


@component("splitter")
def random(features: Features) -> nn.Module:
    """A control: a random half of the frames is static, sampled once from the seed."""
    return RandomSplit(features)


@component("splitter")
def halves(features: Features) -> nn.Module:
    """A control: the first half of the clip is static, the second dynamic."""
    first, second = torch.arange(features.frames).tensor_split(2)
    return FixedSplit(features, "halves", first, second)


class NoSplit(nn.Module):
    """Returns the whole clip as the dynamic group."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.groups = GroupShapes(None, features)

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return the clip as the dynamic group."""
        return Groups(None, clip)


class FixedSplit(nn.Module):
    """Selects the same frames in every clip."""

    static: Tensor
    dynamic: Tensor

    def __init__(self, features: Features, name: str, static: Tensor, dynamic: Tensor) -> None:
        super().__init__()
        self.groups = halved(features, name)
        identity = torch.eye(features.frames)
        self.register_buffer("static", identity[static][None], persistent=False)
        self.register_buffer("dynamic", identity[dynamic][None], persistent=False)

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return the chosen frames of `clip`."""
        return resample(clip, self.static, self.dynamic, details)


class Similarity(nn.Module):
    """Similarity between the frames of a clip.

    Each frame is pooled to 7 x 7 (a smaller map is unchanged), projected to 7 channels by a 1x1 convolution
    and GELU, and flattened: ``Z`` (B, T, d). The similarity is ``Z Z^T * scale``, (B, T, T).
    """

    def __init__(self, features: Features, scale: Scale) -> None:
        super().__init__()
        self.pool = PoolTo(features.height, features.width, SIMILARITY_SIDE)
        self.embed = nn.Conv2d(features.channels, SIMILARITY_CHANNELS, kernel_size=1)
        length = SIMILARITY_CHANNELS * self.pool.height * self.pool.width
        self.scale = 1 / features.channels if scale == "1/C" else length**-0.5

    def forward(self, clip: Tensor) -> Tensor:
        """Return the similarity (B, T, T) of the frames of `clip` (B, C, T, H, W)."""
        frames = clip.transpose(1, 2)
        embedded = nn.functional.gelu(self.embed(self.pool(frames.flatten(0, 1))))
        Z = torch.unflatten(embedded.flatten(1), 0, frames.shape[:2])
        return Z @ Z.transpose(1, 2) * self.scale


class Positions(nn.Module):
    """Sampling weights at fractional frames, and the even (static) and odd (dynamic) frames that offsets start from."""

    steps: Tensor
    even: Tensor
    odd: Tensor

    def __init__(self, frames: int, form: PositionForm) -> None:
        super().__init__()
        self.frames, self.form = frames, form
        steps = torch.arange(frames, dtype=torch.float32)
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("even", steps[None, 0::2], persistent=False)
        self.register_buffer("odd", steps[None, 1::2], persistent=False)

    def weights(self, index: Tensor) -> Tensor:
        """Return the sampling weights (B, T/2, T) at fractional frames `index` (B, T/2)."""
        last = self.frames - 1
        if self.form == "released":
            # the released code scales as for align_corners=True and samples with align_corners=False
            index = index * (self.frames / last) - 0.5
        return hat_weights(index.clamp(0, last), self.steps)


class FrozenISSM(nn.Module):
    """ISSM with every offset at zero: no parameters; corrected positions are then the even-odd split."""

    def __init__(self, features: Features, positions: PositionForm) -> None:
        super().__init__()
        self.groups = halved(features, "issm")
        self.positions = Positions(features.frames, positions)

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return both groups, sampled at offsets of zero."""
        positions = self.positions
        return resample(clip, positions.weights(positions.even), positions.weights(positions.odd), details)


class ISSM(nn.Module):
    """The inter-frame static-dynamic splitting module.

    The similarity ``S`` gives two maps, ``softmax(S)`` for the static and ``softmax(-S)`` for the dynamic group.
    Each, flattened, goes through a linear layer without bias and tanh to offsets of at most `receptive_field`
    time steps from the even and the odd frames, where the clip is sampled by linear interpolation.
    """

    def __init__(
        self,
        features: Features,
        positions: PositionForm,
        receptive_field: float,
        scale: Scale,
        offset_heads: OffsetHeads,
    ) -> None:
        super().__init__()
        self.groups = halved(features, "issm")
        self.similarity = Similarity(features, scale)
        self.positions = Positions(features.frames, positions)
        self.receptive_field = receptive_field
        pairs, half = features.frames**2, features.frames // 2
        self.static_offsets = nn.Linear(pairs, half, bias=False)
        self.dynamic_offsets = (
            self.static_offsets if offset_heads == "shared" else nn.Linear(pairs, half, bias=False)
        )

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return both groups of `clip`, sampled at fractional frames."""
        S = self.similarity(clip)
        static = self.positions.even + self.offsets(self.static_offsets, S)
        dynamic = self.positions.odd + self.offsets(self.dynamic_offsets, -S)
        if details is not None:
            details |= {"similarity": S, "static_index": static, "dynamic_index": dynamic}
        return resample(clip, self.positions.weights(static), self.positions.weights(dynamic), details)

    def offsets(self, head: nn.Module, similarity: Tensor) -> Tensor:
        """Return the offsets (B, T/2) in time steps that `head` reads from a similarity (B, T, T)."""
        return torch.tanh(head(similarity.softmax(-1).flatten(1))) * self.receptive_field


class LearnedOffsets(nn.Module):
    """One learned offset for each sampled frame, within (-receptive_field, receptive_field) time steps."""

    def __init__(self, features: Features, positions: PositionForm, receptive_field: float) -> None:
        super().__init__()
        self.groups = halved(features, "offsets")
        self.positions = Positions(features.frames, positions)
        self.receptive_field = receptive_field
        # not zero: linear interpolation has no gradient exactly on a frame
        self.static_offsets = nn.Parameter(torch.empty(features.frames // 2).normal_(std=0.1))
        self.dynamic_offsets = nn.Parameter(torch.empty(features.frames // 2).normal_(std=0.1))

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return both groups, sampled at the same fractional frames in every clip."""
        static = self.positions.even + torch.tanh(self.static_offsets) * self.receptive_field
        dynamic = self.positions.odd + torch.tanh(self.dynamic_offsets) * self.receptive_field
        if details is not None:
            details["static_index"] = static.expand(len(clip), -1)
            details["dynamic_index"] = dynamic.expand(len(clip), -1)
        return resample(clip, self.positions.weights(static), self.positions.weights(dynamic), details)


class Weighting(nn.Module):
    """Weighted averages of all frames.

    Every even row of ``softmax(S)`` gives a static frame, every odd row of ``softmax(-S)`` a dynamic one.
    """

    def __init__(self, features: Features, scale: Scale) -> None:
        super().__init__()
        self.groups = halved(features, "weighting")
        self.similarity = Similarity(features, scale)

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return both groups of `clip`, weighted averages of its frames."""
        S = self.similarity(clip)
        if details is not None:
            details["similarity"] = S
        return resample(clip, S[:, 0::2].softmax(-1), (-S[:, 1::2]).softmax(-1), details)


class TopK(nn.Module):
    """Ranks frames by their mean cosine similarity to the others; each group keeps the order of time."""

    identity: Tensor

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.groups = halved(features, "top-k")
        self.register_buffer("identity", torch.eye(features.frames), persistent=False)

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return the more and the less similar half of the frames of `clip`."""
        frames = nn.functional.normalize(clip.detach().transpose(1, 2).flatten(2), dim=2)
        similarity = frames @ frames.transpose(1, 2)
        if details is not None:
            details["similarity"] = similarity
        # every frame has similarity 1 to itself, so the sum ranks like the mean over the other frames
        order = similarity.sum(2).argsort(dim=1, descending=True, stable=True)
        return resample(clip, *half_weights(order, self.identity), details)


class RandomSplit(nn.Module):
    """A permutation of the frames that is the same for every clip; each group keeps the order of time."""

    draw: Tensor
    identity: Tensor

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.groups = halved(features, "random")
        self.register_buffer("draw", torch.rand(features.frames))
        self.register_buffer("identity", torch.eye(features.frames), persistent=False)

    def forward(self, clip: Tensor, details: Details | None = None) -> Groups:
        """Return the frames with the lower and with the higher random numbers."""
        return resample(clip, *half_weights(self.draw.argsort()[None], self.identity), details)


def half_weights(order: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sampling weights (B or 1, T/2, T) of the first and the second half of `order` (B or 1, T)."""
    first, second = order.tensor_split(2, dim=1)
    return identity[first.sort(dim=1).values], identity[second.sort(dim=1).values]


def resample(clip: Tensor, static: Tensor, dynamic: Tensor, details: Details | None) -> Groups:
    """Return the groups sampled from `clip` by weights (B or 1, T/2, T), and record the weights."""
    if details is not None:
        details["static_weights"] = static.expand(len(clip), -1, -1)
        details["dynamic_weights"] = dynamic.expand(len(clip), -1, -1)
    return Groups(sample_frames(clip, static), sample_frames(clip, dynamic))
