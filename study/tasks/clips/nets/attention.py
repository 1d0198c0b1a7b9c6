"""Attention as explicit matrix products, which the counters of operations can follow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from study.errors import InputError


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return ``softmax(q k^T / sqrt(d)) v`` of (B, heads, N, d)."""
    similarity = torch.matmul(q / math.sqrt(q.shape[-1]), k.transpose(2, 3))
    return torch.matmul(similarity.softmax(-1), v)


def head_width(channels: int, heads: int, where: str) -> int:
    """Return the channels of one head; InputError, prefixed with `where`, unless `heads` divides `channels`."""
    if channels % heads:
        raise InputError(
            f"{where}: must divide the {channels} channels of the features. Got {heads} instead."
        )
    return channels // heads
