"""Depthwise 3-D convolution and its gradients as Triton kernels, for maps whose channels are last.

Each program computes a block of positions times a block of channels: it reads the 27 neighbours of its positions, sums
in float32 and writes once, so the maps pass through the caches of the GPU in place of its memory. The gradients are
summed in a fixed order and are deterministic.

Importing this module needs Triton, which is a part of torch's packages for CUDA. With ``TRITON_INTERPRET=1`` the
kernels run on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TAPS = 27
POSITIONS = 64
"""Positions of a block."""
MOST_CHANNELS = 32
"""Channels of a block at most."""
BLOCKS = 8
"""Blocks of positions over which one program sums the gradient by the weight."""


@triton.jit  # type: ignore[untyped-decorator]
def _convolve(  # type: ignore[no-untyped-def]
    source,
    weight,
    result,
    positions,
    channels,
    frames,
    source_height,
    source_width,
    height,
    width,
    STRIDE: tl.constexpr,
    IS_GRADIENT: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Write the convolution of `source` at every position of `result`, or the gradient by its maps.

    For the gradient, `source` is the gradient by the convolution and `result` that by the maps: a position takes part
    in the places of the convolution that lie a tap from it, where the stride divides their distance.
    """
    position = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    is_position = position < positions
    x = position % width
    y = (position // width) % height
    frame = (position // (width * height)) % frames
    clip = (position // (width * height * frames)).to(tl.int64)
    total = tl.zeros((POSITIONS, CHANNELS), dtype=tl.float32)
    for t in tl.static_range(3):
        for row in tl.static_range(3):
            for column in tl.static_range(3):
                if IS_GRADIENT:
                    from_frame = frame + 1 - t
                    from_y = y + 1 - row
                    from_x = x + 1 - column
                    is_inside = is_position & (from_y >= 0) & (from_x >= 0)
                    if STRIDE > 1:
                        is_inside = is_inside & (from_y % STRIDE == 0) & (from_x % STRIDE == 0)
                        from_y = from_y // STRIDE
                        from_x = from_x // STRIDE
                else:
                    from_frame = frame + t - 1
                    from_y = y * STRIDE + row - 1
                    from_x = x * STRIDE + column - 1
                    is_inside = is_position & (from_y >= 0) & (from_x >= 0)
                is_inside = is_inside & (from_frame >= 0) & (from_frame < frames)
                is_inside = is_inside & (from_y < source_height) & (from_x < source_width)
                place = ((clip * frames + from_frame) * source_height + from_y) * source_width + from_x
                values = tl.load(
                    source + place[:, None] * channels + channel[None, :],
                    mask=is_inside[:, None] & is_channel[None, :],
                    other=0.0,
                )
                factor = tl.load(
                    weight + ((t * 3 + row) * 3 + column) * channels + channel, mask=is_channel, other=0.0
                )
                total += values.to(tl.float32) * factor.to(tl.float32)[None, :]
    tl.store(
        result + position.to(tl.int64)[:, None] * channels + channel[None, :],
        total.to(result.dtype.element_ty),
        mask=is_position[:, None] & is_channel[None, :],
    )


@triton.jit  # type: ignore[untyped-decorator]
def _correlate(  # type: ignore[no-untyped-def]
    gradient,
    maps,
    sums,
    positions,
    channels,
    frames,
    source_height,
    source_width,
    height,
    width,
    STRIDE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCKS: tl.constexpr,
) -> None:
    """Write the gradient by the nine taps of one time, summed over `BLOCKS` blocks of positions, to a row of `sums`."""
    chunk = tl.program_id(0)
    t = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    for row in tl.static_range(3):
        for column in tl.static_range(3):
            total = tl.zeros((POSITIONS, CHANNELS), dtype=tl.float32)
            for block in range(BLOCKS):
                position = (chunk * BLOCKS + block) * POSITIONS + tl.arange(0, POSITIONS)
                is_position = position < positions
                from_x = (position % width) * STRIDE + column - 1
                from_y = ((position // width) % height) * STRIDE + row - 1
                from_frame = (position // (width * height)) % frames + t - 1
                clip = (position // (width * height * frames)).to(tl.int64)
                is_inside = is_position & (from_y >= 0) & (from_x >= 0) & (from_frame >= 0)
                is_inside = is_inside & (from_frame < frames)
                is_inside = is_inside & (from_y < source_height) & (from_x < source_width)
                place = ((clip * frames + from_frame) * source_height + from_y) * source_width + from_x
                mask = is_inside[:, None] & is_channel[None, :]
                values = tl.load(maps + place[:, None] * channels + channel[None, :], mask=mask, other=0.0)
                outer = tl.load(
                    gradient + position.to(tl.int64)[:, None] * channels + channel[None, :],
                    mask=mask,
                    other=0.0,
                )
                total += values.to(tl.float32) * outer.to(tl.float32)
            tap = (t * 3 + row) * 3 + column
            tl.store(sums + (chunk * 27 + tap) * channels + channel, tl.sum(total, axis=0), mask=is_channel)


@torch.library.custom_op("study::depthwise", mutates_args=())
def convolved(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the convolution (B, T, H', W', C) of maps (B, T, H, W, C) by a weight (27, C), padded by one.

    `stride` is that of height and width; time has stride one. Both inputs are contiguous.
    """
    result: Tensor = _empty_result(maps, weight, stride)
    _launch(maps, weight, result, stride, is_gradient=False)
    return result


@convolved.register_fake
def _empty_result(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    clips, frames, height, width, channels = maps.shape
    result: Tensor = maps.new_empty(clips, frames, -(-height // stride), -(-width // stride), channels)
    return result


@torch.library.custom_op("study::depthwise_maps_gradient", mutates_args=())
def maps_gradient(grad: Tensor, weight: Tensor, stride: int, height: int, width: int) -> Tensor:
    """Return the gradient by the maps (B, T, H, W, C) from that by the convolution."""
    result: Tensor = _empty_maps(grad, weight, stride, height, width)
    _launch(grad, weight, result, stride, is_gradient=True)
    return result


@maps_gradient.register_fake
def _empty_maps(grad: Tensor, weight: Tensor, stride: int, height: int, width: int) -> Tensor:
    result: Tensor = grad.new_empty(*grad.shape[:2], height, width, grad.shape[-1])
    return result


@torch.library.custom_op("study::depthwise_weight_gradient", mutates_args=())
def weight_gradient(grad: Tensor, maps: Tensor, stride: int) -> Tensor:
    """Return the gradient by the weight, (27, C) in float32, from that by the convolution."""
    channels, positions = grad.shape[-1], grad.numel() // grad.shape[-1]
    chunks = triton.cdiv(positions, POSITIONS * BLOCKS)
    sums = grad.new_empty(chunks, TAPS, channels, dtype=torch.float32)
    block = _block(channels)
    _correlate[(chunks, 3, triton.cdiv(channels, block))](
        grad,
        maps,
        sums,
        positions,
        channels,
        *maps.shape[1:4],
        *grad.shape[2:4],
        STRIDE=stride,
        POSITIONS=POSITIONS,
        CHANNELS=block,
        BLOCKS=BLOCKS,
    )
    total: Tensor = sums.sum(0)
    return total


@weight_gradient.register_fake
def _empty_weight(grad: Tensor, maps: Tensor, stride: int) -> Tensor:
    result: Tensor = grad.new_empty(TAPS, grad.shape[-1], dtype=torch.float32)
    return result


def _launch(source: Tensor, weight: Tensor, result: Tensor, stride: int, is_gradient: bool) -> None:
    channels, positions = result.shape[-1], result.numel() // result.shape[-1]
    block = _block(channels)
    _convolve[(triton.cdiv(positions, POSITIONS), triton.cdiv(channels, block))](
        source,
        weight,
        result,
        positions,
        channels,
        *source.shape[1:4],
        *result.shape[2:4],
        STRIDE=stride,
        IS_GRADIENT=is_gradient,
        POSITIONS=POSITIONS,
        CHANNELS=block,
    )


def _block(channels: int) -> int:
    return min(MOST_CHANNELS, 1 << (channels - 1).bit_length())


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    maps, weight, ctx.stride = inputs
    ctx.save_for_backward(maps, weight)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    maps, weight = ctx.saved_tensors
    grad = grad.contiguous()
    by_maps = by_weight = None
    if ctx.needs_input_grad[0]:
        by_maps = maps_gradient(grad, weight, ctx.stride, maps.shape[2], maps.shape[3])
    if ctx.needs_input_grad[1]:
        by_weight = weight_gradient(grad, maps, ctx.stride).to(weight.dtype)
    return by_maps, by_weight, None


convolved.register_autograd(_gradients, setup_context=_save)
