"""Resampling as small matrix products: deterministic on every device, and counted by the counters of operations."""

from __future__ import annotations

import torch
from torch import Tensor


def hat_weights(positions: Tensor, frames: Tensor) -> Tensor:
    """Return the weights of linear interpolation along time.

    Args:
        positions: (..., K), in frames, within [0, frames - 1].
        frames: (T,), the numbers of the frames to sample from: 0 to T - 1.

    Returns:
        (..., K, T): ``max(0, 1 - |position - frame|)``; every row sums to one.
    """
    return (1 - (positions[..., None] - frames).abs()).clamp(min=0)


def sample_frames(clip: Tensor, weights: Tensor) -> Tensor:
    """Return (B, C, K, H, W): weighted sums of the frames of `clip` (B, C, T, H, W) by `weights` (B or 1, K, T)."""
    frames = clip.transpose(1, 2)
    sampled = weights.expand(len(clip), -1, -1) @ frames.flatten(2)
    return torch.unflatten(sampled, 2, frames.shape[2:]).transpose(1, 2)


def pooling_matrix(size: int, pooled: int) -> Tensor:
    """Return (pooled, size): the means over the windows of torch's adaptive average pooling."""
    matrix = torch.zeros(pooled, size)
    for row in range(pooled):
        start, stop = row * size // pooled, -(-(row + 1) * size // pooled)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix


class PoolTo(torch.nn.Module):
    """Average pooling of the last two axes to at most `side` x `side`; a smaller map is unchanged."""

    windows: Tensor

    def __init__(self, height: int, width: int, side: int) -> None:
        super().__init__()
        self.height, self.width = min(height, side), min(width, side)
        windows = torch.kron(pooling_matrix(height, self.height), pooling_matrix(width, self.width))
        self.register_buffer("windows", windows.T.contiguous(), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (..., height, width) pooled."""
        if maps.shape[-2:] == (self.height, self.width):
            return maps
        return torch.unflatten(maps.flatten(-2) @ self.windows, -1, (self.height, self.width))
