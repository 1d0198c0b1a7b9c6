"""Liftings: update the static group from the dynamic one, and subtract from the dynamic one its prediction.

All liftings but `none` are one scheme with different update and predict steps; the optional norms before and the
output block after the steps are those of the paper's LADM, so that two liftings differ only in their steps.
Inside a lifting, groups are (B, T/2, H, W, C): channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar

import torch
from torch import Tensor, nn

from study.config.registry import Range, component
from study.errors import InputError
from study.tasks.clips.nets.attention import Attending, head_width
from study.tasks.clips.nets.contract import Details, Features, Groups, GroupShapes, Lifted

Order = Literal["update-first", "predict-first"]
OutputForm = Literal["released", "residual", "none"]
StepOrder = Annotated[Order, "which step comes first"]
Depth = Annotated[int, Range(0, 3)]
Shared = Annotated[bool, "one set of weights for updater and predictor"]
Norm = Annotated[bool, "LayerNorm on both groups before the steps"]
Output = Annotated[OutputForm, "block on the dynamic group after the steps; 'residual' adds a skip"]
OutputHeads = Annotated[int, Range(1, 64), "of the output block's attention"]
OutputDropPath = Annotated[float, Range(0, 0.9), "of the output block, in training"]
Step = Callable[[Tensor, Tensor], Tensor]
LearnedStep = TypeVar("LearnedStep")


@component("lifting")
def none(groups: GroupShapes) -> nn.Module:
    """No update, no prediction, no context loss: the groups of the splitter, unchanged."""
    return NoLifting()


@component("lifting")
def haar(
    groups: GroupShapes,
    *,
    norm: Norm = False,
    output: Output = "released",
    heads: OutputHeads = 8,
    drop_path: OutputDropPath = 0.2,
) -> nn.Module:
    """The fixed Haar wavelet along time."""
    shape = split_shape(groups, "haar")
    return LADM(
        shape,
        update=lambda static, dynamic: dynamic / 2,
        predict=lambda dynamic, static: static,
        order="predict-first",
        norm=norm,
        output=output_block(output, shape.channels, heads, drop_path),
    )


@component("lifting")
def cdf53(
    groups: GroupShapes,
    *,
    norm: Norm = False,
    output: Output = "released",
    heads: OutputHeads = 8,
    drop_path: OutputDropPath = 0.2,
) -> nn.Module:
    """The fixed CDF 5/3 wavelet along time, symmetric at the ends."""
    shape = split_shape(groups, "cdf53")
    return LADM(
        shape,
        update=lambda static, dynamic: (before(dynamic) + dynamic) / 4,
        predict=lambda dynamic, static: (static + after(static)) / 2,
        order="predict-first",
        norm=norm,
        output=output_block(output, shape.channels, heads, drop_path),
    )


@component("lifting")
def conv(
    groups: GroupShapes,
    *,
    predictor_depth: Annotated[Depth, "convolutions of the predictor; 0 for no prediction"] = 1,
    updater_depth: Annotated[Depth, "convolutions of the updater; 0 for no update"] = 1,
    order: StepOrder = "update-first",
    shared: Shared = False,
    norm: Norm = True,
    output: Output = "released",
    heads: OutputHeads = 8,
    drop_path: OutputDropPath = 0.2,
) -> nn.Module:
    """Learnable updater and predictor of separable 3-D convolutions."""
    shape = split_shape(groups, "conv")

    def steps(depth: int) -> ConvolutionStep | None:
        return ConvolutionStep(shape.channels, depth) if depth else None

    update = steps(updater_depth)
    predict = shared_step(update, updater_depth, predictor_depth) if shared else steps(predictor_depth)
    block = output_block(output, shape.channels, heads, drop_path)
    return LADM(shape, update=update, predict=predict, order=order, norm=norm, output=block)


@component("lifting")
def attention(
    groups: GroupShapes,
    *,
    predictor_depth: Annotated[Depth, "attention layers of the predictor; 0 for no prediction"] = 1,
    updater_depth: Annotated[Depth, "attention layers of the updater; 0 for no update"] = 1,
    depth_budget: Annotated[
        Literal["per-layer", "shared"],
        "every layer at full width, or the heads of one layer divided among all layers",
    ] = "per-layer",
    heads: Annotated[int, Range(1, 64), "attention heads at full width; must divide the channels"] = 8,
    order: StepOrder = "update-first",
    value_residual: Annotated[bool, "add the values, token by token, to the attention output"] = True,
    shared: Shared = False,
    norm: Norm = True,
    output: Output = "released",
    drop_path: OutputDropPath = 0.2,
) -> nn.Module:
    """The paper's learnable updater and predictor: attention over all tokens of both groups."""
    shape = split_shape(groups, "attention")

    def steps(depth: int) -> AttentionStep | None:
        layers = shared_heads(heads, depth) if depth_budget == "shared" else [heads] * depth
        return AttentionStep(shape.channels, heads, layers, value_residual) if depth else None

    update = steps(updater_depth)
    predict = shared_step(update, updater_depth, predictor_depth) if shared else steps(predictor_depth)
    block = output_block(output, shape.channels, heads, drop_path)
    return LADM(shape, update=update, predict=predict, order=order, norm=norm, output=block)


def split_shape(groups: GroupShapes, name: str) -> Features:
    """Return the shape of either group; InputError without a split."""
    if groups.static is None:
        raise InputError(
            f"lifting {name!r}: needs two groups, and splitter 'none' makes one: use lifting 'none'."
        )
    return groups.static


def shared_step(update: LearnedStep, updater_depth: int, predictor_depth: int) -> LearnedStep:
    """Return the updater, to be used as the predictor too; InputError if their depths differ."""
    if updater_depth != predictor_depth:
        raise InputError(
            "lifting.shared: needs updater_depth and predictor_depth to be equal. "
            f"Got {updater_depth} and {predictor_depth} instead."
        )
    return update


def before(group: Tensor) -> Tensor:
    """Return the step before each of (B, T, H, W, C), the first repeated: symmetric about the first frame."""
    return torch.cat([group[:, :1], group[:, :-1]], dim=1)


def after(group: Tensor) -> Tensor:
    """Return the step after each of (B, T, H, W, C), the last repeated: symmetric about the last frame."""
    return torch.cat([group[:, 1:], group[:, -1:]], dim=1)


def shared_heads(heads: int, depth: int) -> list[int]:
    """Return the heads of `depth` layers that share `heads` as evenly as possible.

    All layers together then have as many weights as one layer at full width.
    """
    if heads < depth:
        raise InputError(
            f"lifting.heads: must be at least the depth if layers share them. Got {heads} instead."
        )
    return [heads // depth + (layer < heads % depth) for layer in range(depth)]


class NoLifting(nn.Module):
    """Returns the groups unchanged."""

    def forward(self, groups: Groups, clip: Tensor, details: Details | None = None) -> Lifted:
        """Return the groups unchanged."""
        return Lifted(groups, None)


class LADM(nn.Module):
    """The lifting-based aggregation-disentanglement module.

    ``static += update(static, dynamic)`` and ``dynamic -= predict(dynamic, static)``, in the given order; the
    static group is then compared with the clip averaged over pairs of frames, and the dynamic one passes
    the output block.
    """

    def __init__(
        self,
        shape: Features,
        *,
        update: Step | None,
        predict: Step | None,
        order: Order,
        norm: bool,
        output: nn.Module,
    ) -> None:
        super().__init__()
        self.static_norm = nn.LayerNorm(shape.channels) if norm else nn.Identity()
        self.dynamic_norm = nn.LayerNorm(shape.channels) if norm else nn.Identity()
        self.update, self.predict, self.order = update, predict, order
        self.output = output

    def forward(self, groups: Groups, clip: Tensor, details: Details | None = None) -> Lifted:
        """Return the lifted groups, (B, C, T/2, H, W), and the context residual of the same shape."""
        assert groups.static is not None
        static = self.static_norm(groups.static.permute(0, 2, 3, 4, 1))
        dynamic = self.dynamic_norm(groups.dynamic.permute(0, 2, 3, 4, 1))
        static, dynamic = self.lift(static, dynamic)
        average = torch.unflatten(clip, 2, (-1, 2)).mean(3)
        residual = average - static.permute(0, 4, 1, 2, 3)
        lifted = Groups(static.permute(0, 4, 1, 2, 3), self.output(dynamic).permute(0, 4, 1, 2, 3))
        if details is not None:
            details["disentangled_dynamic"] = dynamic.mean((1, 2, 3))
        return Lifted(lifted, residual)

    def lift(self, static: Tensor, dynamic: Tensor) -> tuple[Tensor, Tensor]:
        """Return both groups after the two steps."""
        if self.order == "predict-first" and self.predict is not None:
            dynamic = dynamic - self.predict(dynamic, static)
        if self.update is not None:
            static = static + self.update(static, dynamic)
        if self.order == "update-first" and self.predict is not None:
            dynamic = dynamic - self.predict(dynamic, static)
        return static, dynamic


class AttentionStep(nn.Module):
    """Update or predict step by cross-attention: queries from the target group, keys and values from the source group.

    ``h_0 = target``, ``h_l = h_(l-1) + layer_l(h_(l-1), source)``; the output of the last layer is the result.
    """

    def __init__(self, channels: int, heads: int, layers: Sequence[int], value_residual: bool) -> None:
        super().__init__()
        if channels % heads:
            raise InputError(
                f"lifting.heads: must divide the {channels} channels of the features. Got {heads}."
            )
        self.layers = nn.ModuleList(
            CrossAttention(channels, channels // heads, count, value_residual) for count in layers
        )

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Return (B, T/2, H, W, C): the update of `target`, or its prediction, from `source`."""
        tokens, context = target.flatten(1, 3), source.flatten(1, 3)
        *inner, last = self.layers
        for layer in inner:
            tokens = tokens + layer(tokens, context)
        output: Tensor = last(tokens, context)
        return output.view_as(target)


class ConvolutionStep(nn.Module):
    """Update or predict step by depthwise 3x3x3 and pointwise convolutions of the source group, with GELU between."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False),
                nn.Conv3d(channels, channels, kernel_size=1),
            )
            for _ in range(depth)
        )

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Return (B, T/2, H, W, C): the update or prediction from `source`."""
        first, *others = self.layers
        maps: Tensor = first(source.permute(0, 4, 1, 2, 3))
        for layer in others:
            maps = layer(nn.functional.gelu(maps))
        return maps.permute(0, 2, 3, 4, 1)


class CrossAttention(Attending):
    """``Linear(softmax(q k^T / sqrt(width of a head)) v + v)``: q from the target, k and v from the source."""

    def __init__(self, channels: int, head_width: int, heads: int, value_residual: bool) -> None:
        super().__init__()
        width = head_width * heads
        self.heads, self.value_residual = heads, value_residual
        self.query = nn.Linear(channels, width)
        self.key_value = nn.Linear(channels, 2 * width)
        self.project = nn.Linear(width, channels)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Return (B, N, C) for a target and a source of that shape."""
        q = self.query(target).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(source).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = self.attend(q, k, v)
        if self.value_residual:
            mixed = mixed + v
        output: Tensor = self.project(mixed.transpose(1, 2).flatten(2))
        return output


def output_block(form: OutputForm, channels: int, heads: int, drop_path: float) -> nn.Module:
    """Return the block on the dynamic group after the steps."""
    if form == "none":
        return nn.Identity()
    head_width(channels, heads, "lifting.heads")
    return OutputBlock(channels, heads, drop_path, residual=form == "residual")


class OutputBlock(Attending):
    """Self-attention with a skip, then an MLP, by default without one: stochastic depth then zeroes the whole clip."""

    def __init__(self, channels: int, heads: int, drop_path: float, *, residual: bool) -> None:
        super().__init__()
        self.heads, self.residual = heads, residual
        self.attention_norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, dynamic: Tensor) -> Tensor:
        """Return (B, T/2, H, W, C)."""
        tokens = dynamic.flatten(1, 3)
        tokens = tokens + self.drop_path(self.self_attention(self.attention_norm(tokens)))
        output: Tensor = self.drop_path(self.mlp(self.mlp_norm(tokens)))
        return (tokens + output if self.residual else output).view_as(dynamic)

    def self_attention(self, tokens: Tensor) -> Tensor:
        """Return the self-attention of tokens (B, N, C)."""
        q, k, v = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        output: Tensor = self.project(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return output


class DropPath(nn.Module):
    """Stochastic depth: in training, zeroes the path of a clip with `probability` and scales the others up."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, N, C)."""
        if not self.training or self.probability == 0:
            return tokens
        kept = torch.rand(len(tokens), 1, 1, device=tokens.device) >= self.probability
        return tokens * kept / (1 - self.probability)
