"""Depthwise 3-D convolution of maps whose channels are last in memory, with fast gradients."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 1
"""Padding in time, height and width: that of a kernel of 3 x 3 x 3."""
HAS_TRITON = find_spec("triton") is not None
"""Whether torch's package came with Triton, as those for CUDA on Linux do."""


def depthwise(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the convolution of every channel of (B, C, T, H, W) with a kernel of its own, channels last in memory.

    Args:
        maps: (B, C, T, H, W), channels last in memory.
        weight: (C, 1, 3, 3, 3).
        stride: Stride in height and width; time has stride one.
    """
    if maps.device.type == "cuda":
        return _on_a_gpu(maps, weight, stride)
    result: Tensor = _Depthwise.apply(maps, weight, stride)
    return result


def _on_a_gpu(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the convolution by a kernel of ours, or by torch's where torch has no Triton (Windows, ROCm)."""
    if not HAS_TRITON:
        return F.conv3d(maps, weight, stride=(1, stride, stride), padding=PADDING, groups=maps.shape[1])
    from study.tasks.clips.nets.depthwise_gpu import convolved

    taps = weight.flatten(1).transpose(0, 1).contiguous()
    result: Tensor = convolved(maps.permute(0, 2, 3, 4, 1).contiguous(), taps, stride)
    return result.permute(0, 4, 1, 2, 3)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution whose gradients are convolutions too.

    The libraries for CPUs have fast kernels for the 3-D convolution and for the gradients of 2-D ones, but none for the
    gradients of a depthwise 3-D one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
        return F.conv3d(maps, weight, stride=(1, stride, stride), padding=PADDING, groups=len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        maps, weight, ctx.stride = inputs
        ctx.save_for_backward(maps, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        maps, weight = ctx.saved_tensors
        (grad,) = grads
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        by_maps = maps_gradient(grad, weight, maps.shape, ctx.stride) if ctx.needs_input_grad[0] else None
        by_weight = weight_gradient(grad, maps, weight, ctx.stride) if ctx.needs_input_grad[1] else None
        return by_maps, by_weight, None


def maps_gradient(grad: Tensor, weight: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """Return the gradient by the maps: the convolution of the spread gradient with the reversed kernel."""
    if stride > 1:
        spread = grad.new_zeros(shape).contiguous(memory_format=torch.channels_last_3d)
        spread[..., ::stride, ::stride] = grad
        grad = spread
    return F.conv3d(grad, weight.flip(2, 3, 4), padding=PADDING, groups=len(weight))


def weight_gradient(grad: Tensor, maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient by the weight: for each time of the kernel, that of a 2-D convolution of all frames."""
    inputs, outputs = _as_images(maps), _as_images(grad)
    same = _image_weight_gradient(outputs, inputs, weight, stride)
    if maps.shape[2] == 1:
        none = torch.zeros_like(same)
        return torch.stack([none, same, none], dim=2)
    inside = grad.clone()  # without the frames that have no neighbour in their own clip
    inside[:, :, 0] = 0
    before = _image_weight_gradient(_as_images(inside)[1:], inputs[:-1], weight, stride)
    inside[:, :, 0] = grad[:, :, 0]
    inside[:, :, -1] = 0
    after = _image_weight_gradient(_as_images(inside)[:-1], inputs[1:], weight, stride)
    return torch.stack([before, same, after], dim=2)


def _image_weight_gradient(grad: Tensor, images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient of a depthwise 2-D convolution of (N, C, H, W) by its weight, (C, 1, 3, 3)."""
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        grad,
        images,
        weight[:, :, 0],
        None,
        [stride, stride],
        [PADDING, PADDING],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [False, True, False],
    )
    return gradients[1]


def _as_images(maps: Tensor) -> Tensor:
    """Return (B * T, C, H, W) from (B, C, T, H, W), channels last in memory."""
    return maps.transpose(1, 2).flatten(0, 1)
