"""Profile of a user's network: parameters, operations by two counters, memory for training, latency."""

from __future__ import annotations

import copy
import logging
import statistics
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from study.records import Profile
from study.tasks.counting import (
    count_flops,
    forward_ms,
    mac_counter,
    quiet_counters,
    saved_bytes,
    uncounted_operators,
    unfused_attention,
)

_log = logging.getLogger(__name__)
Value = TypeVar("Value")

WARM_UPS, PASSES = 3, 10
"""Forward passes that are not timed, and timed ones, whose median is the latency."""


def profile_model(model: nn.Module, example: Any) -> Profile:
    """Return the cost of one forward pass of `model` on `example`; model and random state are left unchanged.

    Args:
        model: The network, on any device.
        example: A tensor whose first axis is the batch, or a tuple or dict of the network's arguments.
    """
    args, kwargs = _arguments(example)
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    was_training = model.training
    cuda = [device] if device.type == "cuda" else []

    def forward() -> Any:
        return model(*args, **kwargs)

    with torch.random.fork_rng(cuda), quiet_counters(), unfused_attention():
        try:
            model.eval()
            macs, uncounted = _try("MACs", lambda: _count_macs(model, args, kwargs)) or (
                0,
                ("all: fvcore failed",),
            )
            flops = _try("FLOPs", lambda: count_flops(forward))
            latency = _try("latency", lambda: _median_ms(forward, device))
        finally:
            model.train(was_training)
        activations = _try("memory", lambda: _activation_bytes(model, args, kwargs))
    shape = tuple(tensors[0].shape) if tensors else ()
    return Profile(
        parameters,
        macs,
        uncounted,
        shape,
        frozen=frozen,
        flops=flops,
        activation_bytes=activations,
        latency_ms=latency,
    )


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, dict):
        return (), example
    return (tuple(example) if isinstance(example, tuple | list) else (example,)), {}


def _try(name: str, count: Callable[[], Value]) -> Value | None:
    """Return the count, None with a warning if it fails for this network."""
    try:
        return count()
    except Exception as error:  # a counter's failure must not end a training
        _log.warning("run.profile: no %s: %s: %s", name, type(error).__name__, error)
        return None


class _TensorsOnly(nn.Module):
    """Wrapper of a network that takes positional arguments and returns tensors only, as a trace requires."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *values: Any) -> tuple[Tensor, ...]:
        split = len(values) - len(self.names)
        kwargs = dict(zip(self.names, values[split:], strict=True))
        return tuple(_tensors(self.network(*values[:split], **kwargs)))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (tensor for item in value.values() for tensor in _tensors(item))
    elif isinstance(value, tuple | list):
        yield from (tensor for item in value for tensor in _tensors(item))


def _count_macs(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[int, tuple[str, ...]]:
    with torch.no_grad():
        counter = mac_counter(_TensorsOnly(model, tuple(kwargs)), (*args, *kwargs.values()))
        return int(counter.total()), uncounted_operators(counter)


def _median_ms(forward: Callable[[], object], device: torch.device) -> float:
    with torch.inference_mode():
        times_ms = [forward_ms(forward, device) for _ in range(WARM_UPS + PASSES)]
    return statistics.median(times_ms[WARM_UPS:])


def _activation_bytes(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Return the bytes that one more example saves for the backward pass: of three copies less those of two."""
    network = copy.deepcopy(model).train()
    first = next(tensor for tensor in (*args, *kwargs.values()) if isinstance(tensor, Tensor))

    def bytes_of(copies: int) -> int:
        batch = [_repeat(value, copies) for value in args]
        named = {name: _repeat(value, copies) for name, value in kwargs.items()}
        return saved_bytes(lambda: network(*batch, **named))[1]

    two, three = bytes_of(2), bytes_of(3)
    return (three - two) // max(1, len(first))


def _repeat(value: Any, copies: int) -> Any:
    return torch.cat([value] * copies) if isinstance(value, Tensor) and value.dim() else value
