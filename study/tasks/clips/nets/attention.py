"""Attention in two forms: explicit matrix products, which counters of operations follow, and torch's fused kernels."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.errors import InputError

AttentionForm = Literal["fast", "reference"]


class Attending(nn.Module):
    """Base class of modules with attention; `use_attention` chooses how all modules of a network compute it."""

    attention: AttentionForm = "reference"

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return ``softmax(q k^T / sqrt(d)) v`` of (B, heads, N, d) in the form that is chosen."""
        return fused_attend(q, k, v) if self.attention == "fast" else attend(q, k, v)


def use_attention(network: nn.Module, form: AttentionForm) -> None:
    """Set the form of attention of every `Attending` module of a network; its tensors stay as they are."""
    for module in network.modules():
        if isinstance(module, Attending):
            module.attention = form


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return ``softmax(q k^T / sqrt(d)) v`` of (B, heads, N, d)."""
    similarity = torch.matmul(q / math.sqrt(q.shape[-1]), k.transpose(2, 3))
    return torch.matmul(similarity.softmax(-1), v)


def fused_attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Return ``softmax(scale q k^T) v`` of (B, heads, N, d) by a fused kernel; `scale` is ``1 / sqrt(d)`` by default.

    If deterministic algorithms are on, the gradient is deterministic too.
    """
    output = F.scaled_dot_product_attention(q, k, v, scale=scale)
    if torch.are_deterministic_algorithms_enabled() and not torch.compiler.is_compiling():
        _insist_on_determinism(output)
    return output


def _insist_on_determinism(output: Tensor) -> None:
    """Compute the gradient of a fused attention under deterministic algorithms as errors, not as warnings.

    The fused kernels have deterministic gradients, but torch uses them only where a nondeterministic operator is an
    error; where it is a warning, torch warns and uses the others.
    """
    node = output.grad_fn
    if node is None or not torch.is_deterministic_algorithms_warn_only_enabled():
        return

    def insist(grads: object) -> None:
        torch.use_deterministic_algorithms(True)

    def restore(grads: object, outputs: object) -> None:
        torch.use_deterministic_algorithms(True, warn_only=True)

    node.register_prehook(insist)
    node.register_hook(restore)


def head_width(channels: int, heads: int, where: str) -> int:
    """Return the channels of one head; InputError, prefixed with `where`, unless `heads` divides `channels`."""
    if channels % heads:
        raise InputError(
            f"{where}: must divide the {channels} channels of the features. Got {heads} instead."
        )
    return channels // heads
