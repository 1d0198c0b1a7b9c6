"""Stand-in components and attempts at trainings that go wrong, or are killed."""

from __future__ import annotations

import json
import logging
import os
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import functional as F

from study.config.registry import Range, component
from study.tasks import work
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.nets.contract import Output
from support.tiny_parts import Tiny, TwoLayers

KILLED = 9
"""The exit code of an attempt that ends itself without a word."""
DEATH: dict[str, int] = {"step": 0}
"""The step of this process at which it ends; 0 for never."""


class Both(Tiny):
    """Tiny, whose validation clips may be trained on, and which may say that it selects on its test split."""

    def __init__(self, per_class: int, *, is_optimistic: bool) -> None:
        super().__init__(per_class, 30.0, [], False)
        object.__setattr__(self, "is_optimistic", is_optimistic)

    def split(self, name, fold=None):
        clips = super().split(name, fold)

        def read(indexes, generator):
            return clips.read(indexes, generator if name == "train" else None)

        return Clips(clips.ids, clips.sources, clips.labels, read)


@component("dataset")
def both(
    *,
    per_class: Annotated[int, Range(1), "clips of each class in each split"] = 10,
    is_optimistic: Annotated[bool, "say that the validation split is the test split"] = False,
):
    """Clips with one bright row a class, the validation clips to be trained on too."""
    return Both(per_class, is_optimistic=is_optimistic)


class Fading(nn.Module):
    """Cross-entropy that forgets: what it weighs depends on every step before."""

    mean: torch.Tensor
    steps: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64), persistent=False)
        self.calls = 0

    def forward(self, output, targets):
        self.calls += 1
        if self.calls == DEATH["step"]:
            os._exit(KILLED)
        loss = F.cross_entropy(output.logits, targets)
        self.steps += 1
        self.mean.lerp_(loss.detach(), 0.3)
        return loss / (self.mean + 0.1 * self.steps)


@component("loss")
def fading():
    """A loss with a memory, one half of it in a buffer that no state_dict holds."""
    return Fading()


@component("loss")
def putting():
    """Cross-entropy beside an operator that has no deterministic form on any device."""

    def loss(output, targets):
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))
        return F.cross_entropy(output.logits, targets)

    return loss


class Greedy(TwoLayers):
    def __init__(self, shape, classes, own_memory):
        super().__init__(shape, classes, 16, 0.0)
        self.own_memory = own_memory

    def forward(self, clips, details=None) -> Output:
        if self.own_memory:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@component("network")
def greedy(shape, classes, build, *, own_memory: Annotated[bool, "run out of the machine's memory"] = False):
    """A network for which no memory is enough."""
    return Greedy(shape, classes, own_memory)


@component("augmentation")
def precise():
    """Noise of each clip's own, in float64."""

    def changed(clips, generator):
        noise = torch.rand(clips.shape, generator=generator, dtype=torch.float64)
        return clips.double() + 0.1 * noise

    return changed


def attempt(spec, folder, told, *, epoch=0, step=0, write=0, rule="") -> None:
    """Train, and end this process after an epoch, at a step or before a write of this attempt, where asked to.

    Every epoch that is reported adds a line to the file `told`.
    """
    import study.task
    from study.ledger import predictions
    from study.tasks.clips.training import checkpoint, train

    logging.getLogger("study").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    DEATH["step"] = step
    writes, real = 0, study.task.write

    def counted(path: Any, content: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == write:
            os._exit(KILLED)
        real(path, content)

    for module in (study.task, train, checkpoint, predictions):
        module.write = counted

    def report(ended):
        with told.open("a") as file:
            file.write(json.dumps(ended.epoch) + "\n")
        if ended.epoch == epoch:
            os._exit(KILLED)

    work.train(spec, folder, report, rule)
