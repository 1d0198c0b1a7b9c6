"""Pooled attention of MViTv2 with torchvision's tensors under torchvision's names, and its max pooling of tokens.

Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", CVPR 2022,
arXiv 2112.01526. Tokens are (B, 1 + T * H * W, C): a class token, then the positions of a grid (T, H, W).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.tasks.clips.nets.attention import Attending, fused_attend
from study.tasks.clips.nets.depthwise import depthwise

Grid = tuple[int, int, int]
"""Positions in time, height and width."""
AXES = "thw"
LANES = 8
"""Fused kernels take heads whose width is a multiple of this."""


class PooledAttention(Attending):
    """Self-attention whose queries, keys and values are pooled, with decomposed relative positions.

    ``softmax(q k^T / sqrt(d) + b) v + q``, without ``+ q`` for the class token. The bias is
    ``b = q . R_t + q . R_h + q . R_w`` with the rows of three tables that belong to the distances between query and
    key in time, height and width; it is zero from and to the class token. The fast form makes the bias a part of the
    product: queries are extended by their scalar products with all rows, and keys by the one-hot vectors of their
    place in time, height and width.

    Args:
        attention: torchvision's MultiscaleAttention, whose tensors are taken over. Its tables for height and width are
            replaced by tables for the grid: torchvision's are for square images that every stride divides, and are
            interpolated otherwise, which has no deterministic gradient on a GPU.
        grid: The positions of the tokens.
        query_stride: Stride of the pooled queries in height and width.
        key_stride: Stride of the pooled keys and values in height and width.
    """

    rel_pos_t: nn.Parameter
    rel_pos_h: nn.Parameter
    rel_pos_w: nn.Parameter
    distance_t: Tensor
    distance_h: Tensor
    distance_w: Tensor
    key_places: Tensor
    is_position: Tensor

    def __init__(self, attention: Any, grid: Grid, query_stride: int, key_stride: int) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.scale: float = attention.scaler
        self.grid, self.queries, self.keys = grid, strided(grid, query_stride), strided(grid, key_stride)
        width = attention.head_dim
        self.rel_pos_h = _position_table(self.queries[1], self.keys[1], width)
        self.rel_pos_w = _position_table(self.queries[2], self.keys[2], width)
        self.rel_pos_t = attention.rel_pos_t
        self.qkv, self.project = attention.qkv, attention.project
        self.pool_q, self.pool_k, self.pool_v = attention.pool_q, attention.pool_k, attention.pool_v
        for axis, queries, keys in zip(AXES, self.queries, self.keys, strict=True):
            self.register_buffer(f"distance_{axis}", distances(queries, keys), persistent=False)
        self.register_buffer("key_places", places(self.keys), persistent=False)
        is_position = torch.ones(1 + math.prod(self.queries), 1, 1)
        is_position[0] = 0
        self.register_buffer("is_position", is_position, persistent=False)

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Return the tokens of the queries' grid, and that grid."""
        mixed = self._fast(tokens) if self.attention == "fast" else self._reference(tokens)
        return self.project(mixed.flatten(2)), self.queries

    def _reference(self, tokens: Tensor) -> Tensor:
        """Return (B, 1 + N, heads, d) by explicit products, as torchvision computes it."""
        qkv = torch.unflatten(self.qkv(tokens), 2, (3, self.heads, -1)).transpose(1, 3)
        q, k, v = (
            pool(part, self.grid)[0]
            for pool, part in zip((self.pool_q, self.pool_k, self.pool_v), qkv.unbind(2), strict=True)
        )
        similarity = torch.matmul(self.scale * q, k.transpose(2, 3))
        similarity[:, :, 1:, 1:] += self._bias(q[:, :, 1:])
        mixed = torch.matmul(similarity.softmax(-1), v)
        mixed[:, :, 1:] += q[:, :, 1:]
        return mixed.transpose(1, 2)

    def _bias(self, q: Tensor) -> Tensor:
        """Return (B, heads, N, M) for queries (B, heads, N, d) without the class token."""
        _, h, w = self.queries
        along_t, along_h, along_w = self._tables()
        q = torch.unflatten(q, 2, self.queries)
        in_height = torch.einsum("bythwc,hkc->bythwk", q, along_h)
        in_width = torch.einsum("bythwc,wkc->bythwk", q, along_w)
        by_time = q.permute(2, 0, 1, 3, 4, 5).flatten(1, 4)
        in_time = torch.matmul(by_time, along_t.transpose(1, 2))
        in_time = torch.unflatten(in_time, 1, (len(q), self.heads, h, w))
        in_time = in_time.permute(1, 2, 0, 3, 4, 5)
        bias = in_height[..., None, :, None] + in_width[..., None, None, :] + in_time[..., :, None, None]
        return bias.flatten(5).flatten(2, 4)

    def _tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the table rows of every query and key, (queries, keys, d), for time, height and width."""
        return (
            self.rel_pos_t[self.distance_t],
            self.rel_pos_h[self.distance_h],
            self.rel_pos_w[self.distance_w],
        )

    def _fast(self, tokens: Tensor) -> Tensor:
        """Return (B, 1 + N, heads, d) by a fused kernel; all intermediate results have their channels last."""
        class_token, positions = class_and_positions(tokens)
        class_tokens, positions = self.qkv(class_token).chunk(3, dim=2), positions.contiguous()
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        q, k, v = (
            self._pool(pool, F.linear(positions, weight, bias), class_token)
            for pool, weight, bias, class_token in zip(
                (self.pool_q, self.pool_k, self.pool_v), weights, biases, class_tokens, strict=True
            )
        )
        width = q.shape[-1] + self.key_places.shape[-1]
        pad = -width % LANES
        key_places = self.key_places.to(k.dtype)[:, None].expand(len(k), -1, self.heads, -1)
        mixed = fused_attend(
            F.pad(torch.cat([q, self._products(q)], dim=3), (0, pad)).transpose(1, 2),
            F.pad(torch.cat([k, key_places], dim=3), (0, pad)).transpose(1, 2),
            F.pad(v, (0, width + pad - v.shape[-1])).transpose(1, 2),
            self.scale,
        )
        mixed = mixed.transpose(1, 2)[..., : v.shape[-1]]
        return torch.addcmul(mixed, q, self.is_position.to(q.dtype))

    def _pool(self, pool: Any, positions: Tensor, class_token: Tensor) -> Tensor:
        """Return (B, 1 + N, heads, d): the positions (B, T * H * W, heads * d) pooled and normalised."""
        maps = torch.unflatten(positions, 1, self.grid).permute(0, 4, 1, 2, 3)
        weight = pool.pool.weight.to(maps.dtype).repeat(self.heads, 1, 1, 1, 1)
        maps = depthwise(maps, weight, pool.pool.stride[2])
        pooled = torch.cat([class_token, maps.permute(0, 2, 3, 4, 1).flatten(1, 3)], dim=1)
        normalised: Tensor = pool.norm_act(torch.unflatten(pooled, 2, (self.heads, -1)))
        return normalised.to(positions.dtype)

    def _products(self, q: Tensor) -> Tensor:
        """Return (B, 1 + N, heads, t + h + w): the scalar products of queries with table rows, over the scale."""
        t, h, w = self.queries
        along_t, along_h, along_w = (table.transpose(1, 2) / self.scale for table in self._tables())
        q = class_and_positions(q)[1].contiguous()
        in_time = q.view(-1, t, h * w * self.heads, q.shape[-1]) @ along_t
        in_height = q.view(-1, h, w * self.heads, q.shape[-1]) @ along_h
        by_width = q.view(-1, w * self.heads, q.shape[-1]).transpose(0, 1)
        in_width = (by_width @ along_w.repeat_interleave(self.heads, dim=0)).transpose(0, 1)
        products = [part.reshape(*q.shape[:3], -1) for part in (in_time, in_height, in_width)]
        return F.pad(torch.cat(products, dim=3), (0, 0, 0, 0, 1, 0))


class TokenMaxPool(nn.Module):
    """Max pooling of the grid's height and width, kernel 3, stride 2, padding 1; the class token passes unchanged.

    On a GPU, torch's own 3-D max pooling has no deterministic gradient.
    """

    def forward(self, tokens: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Return the tokens of the halved grid, and that grid."""
        class_token, positions = class_and_positions(tokens)
        maps = halved_maxima(halved_maxima(torch.unflatten(positions, 1, grid), 2), 1)
        return torch.cat([class_token, maps.flatten(1, 3)], dim=1), strided(grid, 2)


def class_and_positions(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class token, (B, 1, ...), and the other tokens of (B, 1 + N, ...).

    The gradient of a split is one concatenation, those of two slices are two tensors of zeros and a sum.
    """
    class_token, positions = torch.split(tokens, [1, tokens.shape[1] - 1], dim=1)
    return class_token, positions


def halved_maxima(maps: Tensor, trailing: int) -> Tensor:
    """Return the maxima around every second place of the axis that `trailing` axes follow, by comparing slices."""
    axis = -1 - trailing
    places = 2 * -(-maps.shape[axis] // 2) - 1
    padded = F.pad(maps, (0, 0) * trailing + (1, 1), value=float("-inf")).movedim(axis, 0)
    before, centre, after = (padded[start : start + places : 2].movedim(0, axis) for start in range(3))
    return torch.maximum(torch.maximum(before, centre), after)


def distances(queries: int, keys: int) -> Tensor:
    """Return (queries, keys): the row of the position table for each distance along one axis.

    The shorter of both is stretched to the length of the longer one.
    """
    query_step, key_step = max(keys / queries, 1.0), max(queries / keys, 1.0)
    query = torch.arange(queries)[:, None] * query_step
    return (query - (torch.arange(keys)[None, :] + (1.0 - keys)) * key_step).long()


def places(grid: Grid) -> Tensor:
    """Return (1 + T * H * W, T + H + W): one-hot vectors of each token's place; zeros for the class token."""
    indexes = torch.cartesian_prod(*map(torch.arange, grid)).unbind(1)
    hot = torch.cat([torch.eye(size)[index] for size, index in zip(grid, indexes, strict=True)], dim=1)
    return F.pad(hot, (0, 0, 1, 0))


def strided(grid: Grid, stride: int) -> Grid:
    """Return the grid after a stride in height and width."""
    return grid[0], -(-grid[1] // stride), -(-grid[2] // stride)


def _position_table(queries: int, keys: int, width: int) -> nn.Parameter:
    """Return a table with a row for each distance of `queries` and `keys` along one axis."""
    table = nn.Parameter(torch.empty(2 * max(queries, keys) - 1, width))
    nn.init.trunc_normal_(table, std=0.02)
    return table
