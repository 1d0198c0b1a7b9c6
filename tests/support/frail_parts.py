"""Components of trainings that fail, and attempts at trainings that are killed."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import functional as F

from study.config.registry import Range, component
from study.records import RunSpec
from study.tasks import work
from study.tasks.clips.data.contract import Clips
from study.tasks.clips.nets.contract import Output
from support.tiny_parts import Tiny, TwoLayers

KILLED = 9
"""Exit code of an attempt that ends itself."""
DEATH: dict[str, int] = {"step": 0}
"""The step of this process at which it ends; 0 for never."""


class Both(Tiny):
    """Tiny data set whose validation clips may be trained on, optionally selecting on its test split."""

    def __init__(self, per_class: int, *, is_optimistic: bool) -> None:
        super().__init__(per_class, 30.0, [], False)
        object.__setattr__(self, "is_optimistic", is_optimistic)

    def split(self, name: Any, fold: Any = None) -> Any:
        clips = super().split(name, fold)

        def read(indexes: Any, generator: Any) -> Any:
            return clips.read(indexes, generator if name == "train" else None)

        return Clips(clips.ids, clips.sources, clips.labels, read)


@component("dataset")
def both(
    *,
    per_class: Annotated[int, Range(1), "clips of each class in each split"] = 10,
    is_optimistic: Annotated[bool, "declare the validation split to be the test split"] = False,
) -> Any:
    """Clips with one bright row a class; validation clips may be trained on."""
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

    def forward(self, output: Any, targets: Any) -> Any:
        self.calls += 1
        if self.calls == DEATH["step"]:
            os._exit(KILLED)
        loss = F.cross_entropy(output.logits, targets)
        self.steps += 1
        self.mean.lerp_(loss.detach(), 0.3)
        return loss / (self.mean + 0.1 * self.steps)


@component("loss")
def fading() -> Any:
    """A loss with a memory, one half of it in a buffer that no state_dict holds."""
    return Fading()


@component("loss")
def putting() -> Any:
    """Cross-entropy beside an operator that has no deterministic form on any device."""

    def loss(output: Any, targets: Any) -> Any:
        torch.zeros(3).put_(torch.tensor([1]), torch.ones(1))
        return F.cross_entropy(output.logits, targets)

    return loss


class Greedy(TwoLayers):
    def __init__(self, shape: Any, classes: Any, own_memory: Any) -> None:
        super().__init__(shape, classes, 16, 0.0)
        self.own_memory = own_memory

    def forward(self, clips: Any, details: Any = None) -> Output:
        if self.own_memory:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@component("network")
def greedy(
    shape: Any,
    classes: Any,
    build: Any,
    *,
    own_memory: Annotated[bool, "run out of the machine's memory"] = False,
) -> Any:
    """A network for which no memory is enough."""
    return Greedy(shape, classes, own_memory)


@component("augmentation")
def precise() -> Any:
    """Noise of each clip's own, in float64."""

    def changed(clips: Any, generator: Any) -> Any:
        noise = torch.rand(clips.shape, generator=generator, dtype=torch.float64)
        return clips.double() + 0.1 * noise

    return changed


def attempt(
    spec: RunSpec,
    folder: Path,
    epochs_file: Path,
    *,
    epoch: Any = 0,
    step: Any = 0,
    write: Any = 0,
    rule: Any = "",
) -> None:
    """Train, and end this process after an epoch, at a step or before a write of this attempt; 0 for never.

    Every epoch that is reported adds a line to `epochs_file`.
    """

    import study.run
    from study.ledger import predictions, reading
    from study.tasks.clips.training import checkpoint, train

    logging.getLogger("study").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    DEATH["step"] = step
    writes, real = 0, study.run.write  # type: ignore[attr-defined]

    def counted(path: Any, content: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == write:
            os._exit(KILLED)
        real(path, content)

    for module in (study.run, train, checkpoint, predictions, reading):
        module.write = counted  # type: ignore[attr-defined]

    def report(ended: Any) -> None:
        with epochs_file.open("a") as file:
            file.write(json.dumps(ended.epoch) + "\n")
        if ended.epoch == epoch:
            os._exit(KILLED)

    work.train(spec, folder, report, rule)
