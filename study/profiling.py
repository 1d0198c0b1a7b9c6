"""What a network costs: its parameters, and the multiply-accumulates (MACs) of one forward pass.

Counted with fvcore, which counts a multiply-accumulate once (a FLOP count is twice as large), and adds
normalisations, average pools and resizes at one to five per value. What it leaves at nothing are
element-wise operations, softmax, reductions and whatever `profile` names as uncounted.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.components.network import build_network
from study.data.clips import ClipShape, Dataset
from study.ledger.files import write
from study.records import Epoch, Profile, RunSpec, to_json
from study.registry import Registry

PROFILE = "profile.json"

ELEMENT_WISE = """
    abs adaptive_avg_pool1d adaptive_avg_pool3d add addcmul avg_pool1d avg_pool2d avg_pool3d clamp_max clamp_min
    cos cumsum div elu eq erf exp fill ge gelu gt hardsigmoid hardswish hardtanh le leaky_relu linspace log
    log_softmax logical_and logical_not lt max_pool1d max_pool2d max_pool3d mean min mish mul ne neg ones_like
    pow reciprocal rsqrt rsub selu sigmoid silu sin softmax softplus sort sqrt square std sub sum tanh topk tril
    triu var where
"""
"""Operators of a few operations a value, beside products that do hundreds: pools, comparisons, sorting,
reductions and constants among them."""

REARRANGING = """
    alias clone dropout expand_as flip hsplit index_select lift_fresh meshgrid movedim numpy_T pad repeat
    repeat_interleave reshape_as scatter swapaxes tensor_split tile unflatten unfold view_as vsplit
"""
"""Operators that compute nothing in evaluation, among those that fvcore does not know to be free."""

NEGLIGIBLE = frozenset(f"{ELEMENT_WISE} {REARRANGING}".split())
"""Not worth naming as uncounted: names without ``aten::``, and without the ``_`` of the in-place form."""


def profile(spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None]) -> None:
    """Count what the network of `spec` costs for one of its clips; leave ``profile.json`` in `folder`.

    The data set is asked for its shape and classes alone, and `on_epoch` is never called: nothing is trained.
    """
    torch.set_num_threads(spec.threads)
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    network = build_network(registry, spec.config, dataset.shape, len(dataset.classes))
    write(folder / PROFILE, to_json(costs(network, dataset.shape)))


def costs(network: nn.Module, shape: ClipShape) -> Profile:
    """Return what one forward pass of a network in evaluation mode costs, for one clip of `shape`."""
    clips = torch.zeros(1, *shape)
    with _quiet(), _plain_attention():
        from fvcore.nn import FlopCountAnalysis  # here, as it warns when it is imported

        counter = FlopCountAnalysis(_Tensors(network.eval()), clips)
        counter.set_op_handle(
            **{
                "aten::scaled_dot_product_attention": attention_macs,
                "aten::baddbmm": batched_product_macs,
                "aten::mv": vector_product_macs,
                "aten::dot": vector_product_macs,
            }
        )
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        macs = int(counter.total())
        unsupported = counter.unsupported_ops()
    return Profile(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        macs=macs,
        uncounted=tuple(sorted(name for name in unsupported if not _is_negligible(name))),
        input_shape=tuple(clips.shape),
    )


def attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Count attention of queries (…, Lq, dq) to keys (…, Lk, dq) and values (…, Lk, dv).

    Every query meets every key and takes a share of every value: Lq x Lk x (dq + dv) for each batch and
    head, whether or not a mask hides some.
    """
    queries, _, values = map(_shape, inputs[:3])
    return math.prod(queries[:-1]) * values[-2] * (queries[-1] + values[-1])


def batched_product_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Count ``input + a @ b`` for a (B, n, m) and b (B, m, p): B x n x m x p."""
    a, b = map(_shape, inputs[1:3])
    return math.prod(a) * b[-1]


def vector_product_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Count a matrix or a vector times a vector: one for each value of the first."""
    return math.prod(_shape(inputs[0]))


def _shape(value: Any) -> list[int]:
    """Return the shape of a tensor in a traced graph."""
    sizes: list[int] = value.type().sizes()
    return sizes


def _is_negligible(name: str) -> bool:
    return name.removeprefix("aten::").removesuffix("_") in NEGLIGIBLE


class _Tensors(nn.Module):
    """A network that returns its tensors alone: a trace can hold nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        return tuple(value for value in self.network(clips) if isinstance(value, Tensor))


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Keep torch from fusing a whole Transformer layer into one operator that nobody can count."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back fvcore's log lines, which the profile repeats, and its use of what torch will drop."""
    log = logging.getLogger("fvcore.nn.jit_analysis")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
