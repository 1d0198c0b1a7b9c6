"""Attention by fused kernels against explicit products and against torchvision's own blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import golden_files as golden
from torch import Tensor, nn
from torchvision.models.video.mvit import MultiscaleAttention

from study.config.registry import Registry
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.nets import attention
from study.tasks.clips.nets.attention import Attending, use_attention
from study.tasks.clips.nets.depthwise import depthwise
from study.tasks.clips.nets.ifdd.network import build_network, configured
from study.tasks.clips.nets.video.multiscale import PooledAttention

GREY = ClipShape(1, 16, 32, 32)
WIDE = ClipShape(3, 8, 40, 72)
OTHER: dict[str, Any] = {"splitter": "even-odd", "readout": {"name": "class-token", "heads": 4}}
NETWORKS: dict[str, tuple[ClipShape, dict[str, Any]]] = {
    "ifdd": (GREY, {"network": "ifdd"}),
    "ifdd-mvit-tiny": (GREY, {"network": {"name": "ifdd", "stages": [1, 2]}, "backbone": "mvit-tiny"}),
    "ifdd-mfvit-xs": (WIDE, {"network": "ifdd", "backbone": {"name": "mfvit-xs", "width": 8}, **OTHER}),
    "mvit-v2-s": (WIDE, {"network": {"name": "mvit-v2-s", "width": 0.125}}),
    "one-frame": (ClipShape(3, 4, 48, 64), {"network": "plain", "backbone": "mvit-tiny"}),
}


FP32 = 1e-5
BF16 = 3e-2
"""The narrowest of these networks differ by 2e-2 in the reference form too: autocast rounds every layer to 1 in 256."""


class Outcome:
    """Logits and gradients of a network in both forms of attention; nothing in it is random."""

    def __init__(self, network: nn.Module, clips: Tensor, *, bf16: bool = False) -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            self.logits = network(clips).logits.float()
        weights = torch.randn(self.logits.shape, generator=torch.Generator().manual_seed(2))
        (self.logits * weights).sum().backward()
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        self.gradient = torch.cat(gradients)


@pytest.fixture(params=NETWORKS)
def network_and_clips(request: pytest.FixtureRequest, registry: Registry) -> tuple[nn.Module, Tensor]:
    shape, base = NETWORKS[request.param]
    torch.manual_seed(0)
    network = build_network(registry, configured(registry, base), shape, 7).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "rel_pos" in name or "token" in name:
                parameter.add_(0.2 * torch.randn(parameter.shape))  # initial ones hardly count
    return network, torch.rand(2, *shape)


def difference(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_fast_attention_gives_the_logits_and_gradients_of_the_reference(
    network_and_clips: tuple[nn.Module, Tensor], bf16: bool
) -> None:
    network, clips = network_and_clips
    expected = Outcome(network, clips)
    use_attention(network, "fast")
    found = Outcome(network, clips, bf16=bf16)
    assert any(isinstance(module, Attending) for module in network.modules())
    assert difference(found.logits, expected.logits) < (BF16 if bf16 else FP32)
    assert difference(found.gradient, expected.gradient) < (2 * BF16 if bf16 else FP32)


def test_bf16_rounds_the_fast_form_no_more_than_the_reference(
    network_and_clips: tuple[nn.Module, Tensor],
) -> None:
    network, clips = network_and_clips
    exact = Outcome(network, clips)
    reference = Outcome(network, clips, bf16=True)
    use_attention(network, "fast")
    fast = Outcome(network, clips, bf16=True)
    assert difference(fast.logits, exact.logits) < 2 * difference(reference.logits, exact.logits)
    assert difference(fast.gradient, exact.gradient) < 2 * difference(reference.gradient, exact.gradient)


def test_fast_attention_has_the_tensors_of_the_reference(
    network_and_clips: tuple[nn.Module, Tensor],
) -> None:
    network, _ = network_and_clips
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    use_attention(network, "fast")
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("form", ["fast", "reference"])
@pytest.mark.parametrize(
    ("grid", "query_stride", "key_stride"),
    [((4, 8, 8), 1, 2), ((2, 8, 8), 2, 1), ((1, 4, 4), 1, 1), ((3, 4, 4), 2, 2)],
)
def test_pooled_attention_is_torchvision_s(
    grid: tuple[int, int, int], query_stride: int, key_stride: int, form: attention.AttentionForm
) -> None:
    torch.manual_seed(0)
    strides = {"stride_q": [1, query_stride, query_stride], "stride_kv": [1, key_stride, key_stride]}
    theirs = MultiscaleAttention(
        list(grid), 12, 20, 2, [3, 3, 3], [3, 3, 3], **strides,
        residual_pool=True, residual_with_cls_embed=False, rel_pos_embed=True,
    )  # fmt: skip
    ours = PooledAttention(theirs, grid, query_stride, key_stride)
    with torch.no_grad():
        for name in ("rel_pos_t", "rel_pos_h", "rel_pos_w"):
            getattr(theirs, name).normal_()
            getattr(ours, name).copy_(getattr(theirs, name))
    use_attention(ours, form)
    tokens = torch.randn(3, 1 + grid[0] * grid[1] * grid[2], 12)
    (expected, expected_grid), (found, found_grid) = theirs(tokens, grid), ours(tokens, grid)
    assert found_grid == expected_grid
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    wanted = {name: parameter.grad.clone() for name, parameter in theirs.named_parameters()}
    theirs.zero_grad()
    (found * weights).sum().backward()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(3, 1, 4, 5), (2, 3, 7, 4), (1, 2, 3, 9)], ids=str)
def test_depthwise_convolution_has_torch_s_gradients(size: tuple[int, ...], stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    batch, frames, height, width = size
    maps = torch.randn(batch, frames, height, width, 6, generator=generator, dtype=torch.float64)
    maps = maps.permute(0, 4, 1, 2, 3).requires_grad_()
    weight = torch.randn(6, 1, 3, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    ours = depthwise(maps, weight, stride)
    theirs = F.conv3d(maps, weight, stride=(1, stride, stride), padding=1, groups=6)
    torch.testing.assert_close(ours, theirs)
    by = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    for found, expected in zip(
        torch.autograd.grad(ours, (maps, weight), by),
        torch.autograd.grad(theirs, (maps, weight), by),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_released_network_agrees_with_the_authors_by_fused_kernels_too(registry: Registry) -> None:
    network = golden.tiny_network(registry).eval()
    clips = golden.clips(golden.TINY)
    with torch.no_grad():
        expected = network(clips).logits
        use_attention(network, "fast")
        assert difference(network(clips).logits, expected) < 1e-5


@pytest.fixture
def warn_only() -> Any:
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


class Kernel(torch.autograd.Function):
    """An attention that records whether its gradient must be deterministic."""

    modes: list[tuple[bool, bool]] = []

    @staticmethod
    def forward(ctx: Any, q: Tensor) -> Tensor:
        return q.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        Kernel.modes.append(mode())
        return grads[0]


def mode() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def test_the_gradient_of_a_fused_kernel_is_deterministic_where_others_only_warn(
    monkeypatch: pytest.MonkeyPatch, warn_only: None
) -> None:
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, scale=None: Kernel.apply(q))
    Kernel.modes.clear()
    q = torch.rand(1, 1, 2, 4, requires_grad=True)
    attention.fused_attend(q * 1, q, q).sum().backward()
    assert Kernel.modes == [(True, False)]
    assert mode() == (True, True)


def test_without_deterministic_algorithms_a_fused_kernel_may_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v, scale=None: Kernel.apply(q))
    Kernel.modes.clear()
    q = torch.rand(1, 1, 2, 4, requires_grad=True)
    attention.fused_attend(q, q, q).sum().backward()
    assert Kernel.modes == [(False, False)]
