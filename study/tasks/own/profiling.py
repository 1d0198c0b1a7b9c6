"""What a user's network costs: parameters, operations by two counters, memory kept for training, latency."""

from __future__ import annotations

import copy
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.records import Profile

_log = logging.getLogger(__name__)
Value = TypeVar("Value")

WARM_UPS, PASSES = 3, 10
"""Forward passes that do not count, and those whose median does."""


def count(model: nn.Module, example: Any) -> Profile:
    """Return what one forward pass of `model` on `example` costs; the model and the random state stay as they are.

    Args:
        model: The network, on any device.
        example: A tensor whose first axis is the batch, or a tuple or dict of what the network takes.
    """
    positional, named = _arguments(example)
    tensors = [value for value in (*positional, *named.values()) if isinstance(value, Tensor)]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    was_training = model.training
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda), _quiet():
        try:
            model.eval()
            macs, uncounted = _tried("MACs", lambda: _macs(model, positional, named)) or (
                0,
                ("all: fvcore failed",),
            )
            flops = _tried("FLOPs", lambda: _flops(model, positional, named))
            latency = _tried("latency", lambda: _latency_ms(model, positional, named, device))
        finally:
            model.train(was_training)
        kept = _tried("memory", lambda: _activation_bytes(model, positional, named))
    shape = tuple(tensors[0].shape) if tensors else ()
    return Profile(parameters, macs, uncounted, shape, flops=flops, activation_bytes=kept, latency_ms=latency)


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, dict):
        return (), example
    return (tuple(example) if isinstance(example, tuple | list) else (example,)), {}


def _tried(what: str, counted: Callable[[], Value]) -> Value | None:
    """Return what was counted, None with a warning where the network cannot be followed."""
    try:
        return counted()
    except Exception as error:  # a counter's failure must not end a training
        _log.warning("run.profile: no %s: %s: %s", what, type(error).__name__, error)
        return None


class _Positional(nn.Module):
    """A network that takes tensors alone and returns tensors alone: a trace holds nothing else."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *values: Any) -> tuple[Tensor, ...]:
        split = len(values) - len(self.names)
        found = self.network(*values[:split], **dict(zip(self.names, values[split:], strict=True)))
        return tuple(_tensors(found))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (tensor for item in value.values() for tensor in _tensors(item))
    elif isinstance(value, tuple | list):
        yield from (tensor for item in value for tensor in _tensors(item))


def _macs(
    model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
) -> tuple[int, tuple[str, ...]]:
    from fvcore.nn import FlopCountAnalysis

    from study.tasks.operators import HANDLES, is_negligible

    wrapped = _Positional(model, tuple(named))
    with torch.no_grad():
        counter = FlopCountAnalysis(wrapped, (*positional, *named.values()))
        counter.set_op_handle(**HANDLES)
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total = int(counter.total())
        return total, tuple(sorted(name for name in counter.unsupported_ops() if not is_negligible(name)))


def _flops(model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> int:
    with FlopCounterMode(display=False) as counter:  # with gradients: without, expanded parameters fail
        model(*positional, **named)
    return int(counter.get_total_flops())


def _latency_ms(
    model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], device: torch.device
) -> float:
    times_ms = []
    with torch.inference_mode():
        for _ in range(WARM_UPS + PASSES):
            _wait(device)
            began = time.perf_counter()
            model(*positional, **named)
            _wait(device)
            times_ms.append(1000 * (time.perf_counter() - began))
    return statistics.median(times_ms[WARM_UPS:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _activation_bytes(model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Return what one example more has kept for the backward pass: three copies of the example less two."""
    copied = copy.deepcopy(model).train()
    first = next(tensor for tensor in (*positional, *named.values()) if isinstance(tensor, Tensor))
    two, three = (_kept(copied, positional, named, times) for times in (2, 3))
    return (three - two) // max(1, len(first))


def _kept(model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], times: int) -> int:
    storages: dict[int, int] = {}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)  # its address stays its own meanwhile
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(
            *(_repeated(value, times) for value in positional),
            **{name: _repeated(value, times) for name, value in named.items()},
        )
    del outputs
    return sum(storages.values())


def _repeated(value: Any, times: int) -> Any:
    return torch.cat([value] * times) if isinstance(value, Tensor) and value.dim() else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what fvcore logs and what torch will drop, and keep attention from fusing into one operator."""
    log = logging.getLogger("fvcore.nn.jit_analysis")
    level, fast = log.level, torch.backends.mha.get_fastpath_enabled()
    log.setLevel(logging.ERROR)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fast)
