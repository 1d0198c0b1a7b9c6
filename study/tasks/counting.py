"""Cost of a network: operations by fvcore and by torch, bytes saved for the backward pass, time of a forward pass.

fvcore counts multiply-accumulates (MACs) once; it adds normalisations, average pools and resizes at one to five
per value. torch counts floating-point operations (FLOPs) of products only, two for each MAC. Neither counts
element-wise operations, softmax and reductions.
"""

from __future__ import annotations

import logging
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.tasks.operators import HANDLES, is_negligible

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # fvcore uses a deprecated decorator of torch
    from fvcore.nn import FlopCountAnalysis

Result = TypeVar("Result")


def mac_counter(network: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """Return fvcore's analysis of a forward pass of `network`, whose ``total()`` counts MACs.

    fvcore traces the network, so the network must return tensors only and its tensors must have memory.
    """
    counter = FlopCountAnalysis(network, inputs)
    counter.set_op_handle(**HANDLES)
    return counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")


def uncounted_operators(counter: Any) -> tuple[str, ...]:
    """Return the operators that fvcore did not count, without those of negligible cost."""
    return tuple(sorted(name for name in counter.unsupported_ops() if not is_negligible(name)))


def count_flops(forward: Callable[[], object]) -> int:
    """Return the FLOPs of a forward pass by torch's counter.

    Gradients must be enabled: without them, the counter fails if a parameter is expanded.
    """
    with FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_total_flops())


def saved_bytes(forward: Callable[[], Result]) -> tuple[Result, int]:
    """Return the result of a forward pass, and the bytes that its graph keeps until the backward pass.

    Every storage with a tensor saved by autograd counts once and as a whole, including those of inputs and weights;
    the bytes that one more example adds are therefore those of activations only.
    """
    alive: weakref.WeakSet[_SavedTensor] = weakref.WeakSet()

    def save(tensor: Tensor) -> _SavedTensor:
        saved = _SavedTensor(tensor)
        alive.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(save, lambda saved: saved.tensor):
        result = forward()
    storages = [saved.tensor.untyped_storage() for saved in alive]
    return result, sum({storage._cdata: storage.nbytes() for storage in storages}.values())


class _SavedTensor:
    """A tensor that autograd saved; it lives as long as the graph that needs it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # with its graph it would keep itself alive


def forward_ms(forward: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a forward pass in ms, measured from an idle device to an idle device."""
    _synchronize(device)
    began = time.perf_counter()
    forward()
    _synchronize(device)
    return 1000 * (time.perf_counter() - began)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Keep torch from fusing a Transformer layer into one operator that has no count."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def quiet_counters() -> Iterator[None]:
    """Silence fvcore's log lines, which the profile repeats, and its warnings about deprecated parts of torch."""
    log = logging.getLogger("fvcore.nn.jit_analysis")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
