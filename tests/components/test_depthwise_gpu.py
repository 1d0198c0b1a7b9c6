"""The depthwise convolution's kernels for GPUs against torch's own; on a CPU they run in Triton's interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

Convolution = Callable[[Tensor, Tensor, int], Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="module")
def convolved() -> Convolution:
    pytest.importorskip("triton", reason="Triton is a part of torch's packages for CUDA only")
    from study.tasks.clips.nets.depthwise_gpu import convolved

    return convolved


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Torch's own convolutions and their gradients in float32."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(2, 1, 4, 5, 6), (1, 3, 5, 3, 40)], ids=str)
def test_kernels_give_torch_s_convolution_and_gradients(
    size: tuple[int, ...], stride: int, convolved: Convolution
) -> None:
    maps, weight, by = inputs(size, stride)
    ours = convolved(maps, weight.flatten(1).T.contiguous(), stride)
    theirs = convolution(maps, weight, stride)
    torch.testing.assert_close(ours, theirs)
    for found, expected in zip(
        torch.autograd.grad(ours, (maps, weight), by),
        torch.autograd.grad(theirs, (maps, weight), by),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_by_the_weight_is_summed_over_more_positions_than_one_program_takes(
    convolved: Convolution,
) -> None:
    maps, weight, by = inputs((1, 2, 17, 17, 2), 1)  # 578 positions; a program takes 512
    ours = convolved(maps, weight.flatten(1).T.contiguous(), 1)
    (found,) = torch.autograd.grad(ours, weight, by)
    (expected,) = torch.autograd.grad(convolution(maps, weight, 1), weight, by)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_bf16_is_summed_in_float32(convolved: Convolution) -> None:
    maps, weight, by = (tensor.detach().bfloat16() for tensor in inputs((1, 2, 5, 4, 32), 2))
    maps.requires_grad_()
    ours = convolved(maps, weight.flatten(1).T.contiguous(), 2)
    exact = convolution(maps.float(), weight.float(), 2)
    torch.testing.assert_close(ours, exact.bfloat16())
    (found,) = torch.autograd.grad(ours, maps, by)
    (expected,) = torch.autograd.grad(exact, maps, by.float())
    torch.testing.assert_close(found, expected)


def test_shapes_are_known_without_computing(convolved: Convolution) -> None:
    from torch.library import opcheck

    maps, weight, _ = inputs((1, 2, 5, 4, 3), 2)
    opcheck(torch.ops.study.depthwise, (maps, weight.detach().flatten(1).T.contiguous().requires_grad_(), 2))


def inputs(size: tuple[int, ...], stride: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch, frames, height, width, channels = size
    maps = torch.randn(size, generator=generator).to(DEVICE).requires_grad_()
    weight = torch.randn(channels, 1, 3, 3, 3, generator=generator).to(DEVICE).requires_grad_()
    result = (batch, frames, -(-height // stride), -(-width // stride), channels)
    return maps, weight, torch.randn(result, generator=generator).to(DEVICE)


def convolution(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Torch's own, on maps (B, T, H, W, C)."""
    result = F.conv3d(
        maps.permute(0, 4, 1, 2, 3), weight, stride=(1, stride, stride), padding=1, groups=len(weight)
    )
    return result.permute(0, 2, 3, 4, 1)
