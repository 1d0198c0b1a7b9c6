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
POSITIONS = 32
"""Positions of a block."""
MOST_CHANNELS = 32
"""Channels of a block at most."""
BLOCKS = 16
"""Blocks of positions over which one program sums the gradient by the weight."""


@triton.jit  # type: ignore[untyped-decorator]
def _convolve(  # type: ignore[no-untyped-def]
    maps,
    weight,
    result,
    positions,
    channels,
    frames,
    maps_height,
    maps_width,
    height,
    width,
    STRIDE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Write the convolution of `maps` at every position of `result`."""
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
                from_frame = frame + t - 1
                from_y = y * STRIDE + row - 1
                from_x = x * STRIDE + column - 1
                is_inside = is_position & (from_frame >= 0) & (from_y >= 0) & (from_x >= 0)
                is_inside = is_inside & (from_frame < frames) & (from_y < maps_height) & (from_x < maps_width)
                place = ((clip * frames + from_frame) * maps_height + from_y) * maps_width + from_x
                mask = is_inside[:, None] & is_channel[None, :]
                values = tl.load(maps + place[:, None] * channels + channel[None, :], mask=mask, other=0.0)
                tap = (t * 3 + row) * 3 + column
                factor = tl.load(weight + tap * channels + channel, mask=is_channel, other=0.0)
                total += values.to(tl.float32) * factor.to(tl.float32)[None, :]
    tl.store(
        result + position.to(tl.int64)[:, None] * channels + channel[None, :],
        total.to(result.dtype.element_ty),
        mask=is_position[:, None] & is_channel[None, :],
    )


@triton.jit  # type: ignore[untyped-decorator]
def _spread(  # type: ignore[no-untyped-def]
    gradient,
    weight,
    result,
    positions,
    channels,
    frames,
    gradient_height,
    gradient_width,
    height,
    width,
    STRIDE: tl.constexpr,
    POSITIONS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Write the gradient by the maps of a convolution with a stride above one.

    A position of the maps took part by the taps whose distance the stride divides: in each axis the first of them is
    its place plus one modulo the stride, and the others follow at that distance.
    """
    position = tl.program_id(0) * POSITIONS + tl.arange(0, POSITIONS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    is_position = position < positions
    x = position % width + 1
    y = (position // width) % height + 1
    frame = (position // (width * height)) % frames
    clip = (position // (width * height * frames)).to(tl.int64)
    total = tl.zeros((POSITIONS, CHANNELS), dtype=tl.float32)
    for t in tl.static_range(3):
        for down in tl.static_range((2 + STRIDE) // STRIDE):
            for right in tl.static_range((2 + STRIDE) // STRIDE):
                row = y % STRIDE + down * STRIDE
                column = x % STRIDE + right * STRIDE
                from_frame = frame + 1 - t
                from_y = y // STRIDE - down
                from_x = x // STRIDE - right
                is_inside = is_position & (row < 3) & (column < 3)
                is_inside = is_inside & (from_frame >= 0) & (from_y >= 0) & (from_x >= 0)
                is_inside = is_inside & (from_frame < frames)
                is_inside = is_inside & (from_y < gradient_height) & (from_x < gradient_width)
                place = ((clip * frames + from_frame) * gradient_height + from_y) * gradient_width + from_x
                mask = is_inside[:, None] & is_channel[None, :]
                values = tl.load(
                    gradient + place[:, None] * channels + channel[None, :], mask=mask, other=0.0
                )
                tap = (t * 3 + row) * 3 + column
                factor = tl.load(weight + tap[:, None] * channels + channel[None, :], mask=mask, other=0.0)
                total += values.to(tl.float32) * factor.to(tl.float32)
    tl.store(
        result + position.to(tl.int64)[:, None] * channels + channel[None, :],
        total.to(result.dtype.element_ty),
        mask=is_position[:, None] & is_channel[None, :],
    )


@triton.jit
def _products(  # type: ignore[no-untyped-def]
    outer, maps, row_place, y, x, is_row, maps_height, maps_width, channels, channel, is_channel
):
    """Return the products of the gradient with the maps at (y, x) of the frames that begin at `row_place`."""
    is_inside = is_row & (y >= 0) & (x >= 0) & (y < maps_height) & (x < maps_width)
    place = (row_place + y) * maps_width + x
    mask = is_inside[:, None] & is_channel[None, :]
    values = tl.load(maps + place[:, None] * channels + channel[None, :], mask=mask, other=0.0)
    return outer * values.to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _correlate(  # type: ignore[no-untyped-def]
    gradient,
    maps,
    sums,
    positions,
    channels,
    frames,
    maps_height,
    maps_width,
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
    zeros = tl.zeros((POSITIONS, CHANNELS), dtype=tl.float32)
    a, b, c, d, e, f, g, h, i = zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros
    for block in range(BLOCKS):
        position = (chunk * BLOCKS + block) * POSITIONS + tl.arange(0, POSITIONS)
        x = (position % width) * STRIDE
        y = ((position // width) % height) * STRIDE
        frame = (position // (width * height)) % frames + t - 1
        clip = (position // (width * height * frames)).to(tl.int64)
        is_row = (position < positions) & (frame >= 0) & (frame < frames)
        outer = tl.load(
            gradient + position.to(tl.int64)[:, None] * channels + channel[None, :],
            mask=is_row[:, None] & is_channel[None, :],
            other=0.0,
        ).to(tl.float32)
        at = (clip * frames + frame) * maps_height
        a += _products(
            outer, maps, at, y - 1, x - 1, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        b += _products(
            outer, maps, at, y - 1, x, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        c += _products(
            outer, maps, at, y - 1, x + 1, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        d += _products(
            outer, maps, at, y, x - 1, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        e += _products(outer, maps, at, y, x, is_row, maps_height, maps_width, channels, channel, is_channel)
        f += _products(
            outer, maps, at, y, x + 1, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        g += _products(
            outer, maps, at, y + 1, x - 1, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        h += _products(
            outer, maps, at, y + 1, x, is_row, maps_height, maps_width, channels, channel, is_channel
        )
        i += _products(
            outer, maps, at, y + 1, x + 1, is_row, maps_height, maps_width, channels, channel, is_channel
        )
    first = sums + (chunk * 27 + t * 9) * channels + channel
    tl.store(first, tl.sum(a, axis=0), mask=is_channel)
    tl.store(first + channels, tl.sum(b, axis=0), mask=is_channel)
    tl.store(first + 2 * channels, tl.sum(c, axis=0), mask=is_channel)
    tl.store(first + 3 * channels, tl.sum(d, axis=0), mask=is_channel)
    tl.store(first + 4 * channels, tl.sum(e, axis=0), mask=is_channel)
    tl.store(first + 5 * channels, tl.sum(f, axis=0), mask=is_channel)
    tl.store(first + 6 * channels, tl.sum(g, axis=0), mask=is_channel)
    tl.store(first + 7 * channels, tl.sum(h, axis=0), mask=is_channel)
    tl.store(first + 8 * channels, tl.sum(i, axis=0), mask=is_channel)


@torch.library.custom_op("study::depthwise", mutates_args=())
def convolved(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the convolution (B, T, H', W', C) of maps (B, T, H, W, C) by a weight (27, C), padded by one.

    `stride` is that of height and width; time has stride one. Both inputs are contiguous.
    """
    result: Tensor = _empty_result(maps, weight, stride)
    _launch(_convolve, maps, weight, result, stride)
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
    if stride == 1:  # the convolution with the reversed kernel
        _launch(_convolve, grad, weight.flip(0), result, stride)
    else:
        _launch(_spread, grad, weight, result, stride)
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


def _launch(kernel: Any, source: Tensor, weight: Tensor, result: Tensor, stride: int) -> None:
    channels, positions = result.shape[-1], result.numel() // result.shape[-1]
    block = _block(channels)
    kernel[(triton.cdiv(positions, POSITIONS), triton.cdiv(channels, block))](
        source,
        weight,
        result,
        positions,
        channels,
        *source.shape[1:4],
        *result.shape[2:4],
        STRIDE=stride,
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
