"""Counted cost of a clip network: parameters, operations by two counters, and activations kept for training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from study.config.registry import Registry
from study.records import PartCost, Profile, RunSpec
from study.tasks.clips.data.contract import ClipShape
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.nets.contract import Loss
from study.tasks.clips.training.building import build_part, plain_network
from study.tasks.clips.training.outputs import as_output
from study.tasks.counting import (
    count_flops,
    mac_counter,
    quiet_counters,
    saved_bytes,
    uncounted_operators,
    unfused_attention,
)

_log = logging.getLogger(__name__)

NOT_COUNTED = "all: fvcore failed"
"""Stands for the operators of a network that cannot be traced."""
REST = "(rest)"
"""Name of what belongs to a network but to none of its modules."""


def profile_run(spec: RunSpec) -> Profile:
    """Return the cost of a run's network for one clip, without training; the data set gives only shape and classes.

    Raises:
        InputError: The components do not fit together or do not fit the clips.
    """
    return profile_network(Subject.of(spec))


@dataclass(frozen=True)
class Subject:
    """Builders of the network and the loss to profile, and the shape of their clips."""

    network: Callable[[], nn.Module]
    loss: Callable[[], Loss]
    shape: ClipShape

    @classmethod
    def of(cls, spec: RunSpec) -> Subject:
        """Return the subject of a run."""
        registry = Registry(spec.modules)
        dataset = build_dataset(registry, spec.table("dataset"))
        return cls(
            lambda: plain_network(registry, spec, dataset.shape, len(dataset.classes)),
            lambda: cast(Loss, build_part(registry, spec, "loss")),
            dataset.shape,
        )


def profile_network(subject: Subject) -> Profile:
    """Return the cost of a network for one clip.

    Operations are those of one forward pass in evaluation; gradients and activations are those of a training step.
    """
    network = subject.network()
    network.eval()
    macs, by_module, uncounted = _count_macs(network, subject.shape)
    with quiet_counters():
        try:
            with torch.device("meta"):
                flops, unused, activation_bytes = _count_step(subject)
        except Exception as error:  # such as a forward pass that reads tensor values
            _log.info("cannot be counted on the meta device (%s): computed instead", error)
            flops, unused, activation_bytes = _count_step(subject)
    trainable = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
    return Profile(
        parameters=sum(trainable.values()),
        frozen=sum(p.numel() for p in network.parameters() if not p.requires_grad),
        macs=macs,
        uncounted=uncounted,
        input_shape=(1, *subject.shape),
        unused=sum(trainable[name] for name in unused),
        unused_tensors=unused,
        flops=flops,
        activation_bytes=activation_bytes,
        parts=_parts(trainable, macs, by_module),
    )


def _count_macs(network: nn.Module, shape: ClipShape) -> tuple[int, Mapping[str, int], tuple[str, ...]]:
    """Return the MACs of the whole network and of each child, and the operators that are not counted."""
    with quiet_counters(), unfused_attention(), torch.no_grad():
        try:
            counter = mac_counter(_TensorsOnly(network), (torch.zeros(1, *shape),))
            total = int(counter.total())
        except Exception as error:  # such as a compiled or scripted module, which cannot be traced
            _log.warning(
                "no MACs: fvcore cannot trace the network: %s", next(iter(str(error).splitlines()), "")
            )
            return 0, {}, (NOT_COUNTED,)
        children = {name: int(counter.total(f"network.{name}")) for name, _ in network.named_children()}
        return total, children, uncounted_operators(counter)


def _count_step(subject: Subject) -> tuple[int, tuple[str, ...], int]:
    """Return FLOPs, the trainable tensors without a gradient after a training step, and activation bytes a clip.

    The bytes are those of three clips less those of two, the fewest that every normalisation accepts in training.
    """
    network, loss = subject.network(), subject.loss()
    network.eval()
    with unfused_attention():
        flops = count_flops(lambda: network(torch.zeros(1, *subject.shape)))
    network.train()
    _, two_clips = saved_bytes(lambda: _loss(network, loss, torch.zeros(2, *subject.shape)))
    value, three_clips = saved_bytes(lambda: _loss(network, loss, torch.zeros(3, *subject.shape)))
    value.backward()  # type: ignore[no-untyped-call]
    unused = (name for name, p in network.named_parameters() if p.requires_grad and p.grad is None)
    return flops, tuple(unused), three_clips - two_clips


def _loss(network: nn.Module, loss: Loss, clips: Tensor) -> Tensor:
    return loss(as_output(network(clips)), torch.zeros(len(clips), dtype=torch.long))


def _parts(trainable: Mapping[str, int], macs: int, by_module: Mapping[str, int]) -> tuple[PartCost, ...]:
    """Return the cost of each child and of the rest; a shared tensor counts for its first child."""
    parameters: Counter[str] = Counter()
    for name, values in trainable.items():
        parameters[name.partition(".")[0] if "." in name else REST] += values
    rest = macs - sum(by_module.values())
    parts = [PartCost(name, parameters[name], child) for name, child in by_module.items()]
    return (*parts, PartCost(REST, parameters[REST], rest)) if parameters[REST] or rest else tuple(parts)


class _TensorsOnly(nn.Module):
    """Wrapper of a network that returns tensors only, as a trace requires."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        output = as_output(self.network(clips))
        return tuple(value for value in output if isinstance(value, Tensor))
