"""What a network costs by counting: parameters, operations by two counters, and what training has to keep.

fvcore counts multiply-accumulates (MACs) once; it adds normalisations, average pools and resizes at one to five
per value. torch's counter counts floating-point operations (FLOPs) of products alone, two for each MAC. Both leave
element-wise operations, softmax and reductions at nothing.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.config.registry import Registry
from study.records import PartCost, Profile, RunSpec
from study.tasks.clips.data.contract import ClipShape, Dataset
from study.tasks.clips.nets.contract import Loss
from study.tasks.clips.nets.ifdd.network import build_network
from study.tasks.clips.training.outputs import as_output
from study.tasks.operators import HANDLES, is_negligible

_log = logging.getLogger(__name__)

REST = "(rest)"
"""The part of a network that lies in none of its modules."""


def counted(spec: RunSpec) -> Profile:
    """Return what the network of `spec` costs for one of its clips; nothing is trained.

    The data set gives shape and classes alone.

    Raises:
        InputError: Parts that do not go together, or do not fit the clips.
    """
    return count(Subject.of(spec))


@dataclass(frozen=True)
class Subject:
    """What is profiled: how to build a network and its loss, and the clips that the network takes."""

    network: Callable[[], nn.Module]
    loss: Callable[[], Loss]
    shape: ClipShape

    @classmethod
    def of(cls, spec: RunSpec) -> Subject:
        """Return the subject that a run's configuration describes."""
        registry = Registry(spec.modules)
        dataset: Dataset = registry.build("dataset", spec.table("dataset"))
        return cls(
            lambda: build_network(registry, spec.tables, dataset.shape, len(dataset.classes)),
            lambda: cast(Loss, registry.build("loss", spec.table("loss"))),
            dataset.shape,
        )


def count(subject: Subject) -> Profile:
    """Return what a network costs for one clip.

    Operations are those of one forward pass in evaluation; gradients and what is kept for them are those
    of a training step.
    """
    network = subject.network().eval()
    macs, by_module, uncounted = _macs(network, subject.shape)
    with _quiet():
        try:
            with torch.device("meta"):
                flops, unused, activation_bytes = _step(subject)
        except (RuntimeError, TypeError) as error:  # as where a forward pass looks at its values
            _log.info("not countable without memory for its tensors (%s): computed instead", error)
            flops, unused, activation_bytes = _step(subject)
    trainable = {name: p.numel() for name, p in network.named_parameters() if p.requires_grad}
    return Profile(
        parameters=sum(trainable.values()),
        macs=macs,
        uncounted=uncounted,
        input_shape=(1, *subject.shape),
        unused=sum(trainable[name] for name in unused),
        unused_tensors=unused,
        flops=flops,
        activation_bytes=activation_bytes,
        parts=_parts(trainable, macs, by_module),
    )


def _macs(network: nn.Module, shape: ClipShape) -> tuple[int, Mapping[str, int], tuple[str, ...]]:
    """Return MACs in all and by each child of `network`, and the operators that are not counted.

    The network computes: fvcore follows it by tracing, which tensors without memory do not support.
    """
    with _quiet(), _plain_attention(), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis  # here, as it warns when it is imported

        counter = FlopCountAnalysis(_Tensors(network), torch.zeros(1, *shape))
        counter.set_op_handle(**HANDLES)
        counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total = int(counter.total())
        children = {name: int(counter.total(f"network.{name}")) for name, _ in network.named_children()}
        uncounted = sorted(name for name in counter.unsupported_ops() if not is_negligible(name))
        return total, children, tuple(uncounted)


def _step(subject: Subject) -> tuple[int, tuple[str, ...], int]:
    """Return FLOPs, the trainable tensors that a training step gives no gradient, and bytes kept for one clip."""
    network, loss = subject.network(), subject.loss()
    with _plain_attention():
        flops = _flops(network.eval(), torch.zeros(1, *subject.shape))
    network.train()
    _, two_clips = _forward(network, loss, torch.zeros(2, *subject.shape))
    value, three_clips = _forward(network, loss, torch.zeros(3, *subject.shape))
    value.backward()  # type: ignore[no-untyped-call]
    unused = (name for name, p in network.named_parameters() if p.requires_grad and p.grad is None)
    return flops, tuple(unused), three_clips - two_clips


def _flops(network: nn.Module, clips: Tensor) -> int:
    # gradients stay on: without them, torch's counter fails where a parameter is expanded
    with FlopCounterMode(display=False) as counter:
        network(clips)
    return int(counter.get_total_flops())


def _forward(network: nn.Module, loss: Loss, clips: Tensor) -> tuple[Tensor, int]:
    """Return the loss, and the bytes that its graph keeps until the backward pass.

    Counted is every storage that holds a tensor saved by autograd, whole and once, the clips' own and the
    weights' among them; what one more clip adds is therefore activations alone. Two clips are the fewest
    that every normalisation accepts in training.
    """
    kept: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def keep(tensor: Tensor) -> _Saved:
        saved = _Saved(tensor)
        kept.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        value = loss(as_output(network(clips)), torch.zeros(len(clips), dtype=torch.long))
    storages = [saved.tensor.untyped_storage() for saved in kept]
    return value, sum({storage._cdata: storage.nbytes() for storage in storages}.values())


class _Saved:
    """A tensor that autograd saved; it lives as long as the graph that needs it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # with its graph it would keep itself alive


def _parts(trainable: Mapping[str, int], macs: int, by_module: Mapping[str, int]) -> tuple[PartCost, ...]:
    """Return the share of each child, and of what lies in none; a shared tensor counts for the first."""
    held: Counter[str] = Counter()
    for name, values in trainable.items():
        held[name.partition(".")[0] if "." in name else REST] += values
    rest = macs - sum(by_module.values())
    parts = [PartCost(name, held[name], child) for name, child in by_module.items()]
    return (*parts, PartCost(REST, held[REST], rest)) if held[REST] or rest else tuple(parts)


class _Tensors(nn.Module):
    """A network that returns its tensors alone: a trace can hold nothing else."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        output = as_output(self.network(clips))
        return tuple(value for value in output if isinstance(value, Tensor))


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
