"""Rehearsals: a few steps of a training with a digest of every tensor; two of them show where trainings differ."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.config.registry import Registry
from study.files import write
from study.ledger.compare import largest_difference
from study.ledger.layout import CLIPS_CHECKPOINT
from study.machine import machine
from study.records import Epoch, RunSpec
from study.tasks.clips.data.contract import Clips, Dataset, Pixels
from study.tasks.clips.training import checkpoint
from study.tasks.clips.training.batches import predict, steps_per_epoch
from study.tasks.clips.training.determinism import set_up, watched
from study.tasks.clips.training.memory import in_memory
from study.tasks.clips.training.scores import REPORTED
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.train import next_epoch

EPOCHS = 2
"""Of a rehearsal: the second one is killed and resumed."""
KILLED = 9
"""The exit code of a rehearsal that ends itself, as if it had been killed."""
TOLERANCE = 1e-3
"""Predictions of two trainings that agree to this, absolutely or as a share, differ by rounding alone."""
NOTE, END, OPERATORS = "step-{:06d}.json", "end.safetensors", "operators.json"
PREDICTIONS = "predictions"


def rehearse(
    spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], steps: str, end: str = "whole"
) -> None:
    """Train for about `steps` steps, in two epochs, on some of the clips; go on from the folder's checkpoint.

    Leaves a note of every step, the weights and predictions at the end and the names of operators without a
    deterministic form.

    Args:
        spec: The run that is rehearsed.
        folder: A folder of its own.
        on_epoch: Called after each epoch.
        steps: How many to take in all, at least 2.
        end: ``killed`` for a process that ends itself in the middle of the second epoch.
    """
    device = set_up(spec)
    registry = Registry(spec.modules)
    dataset: Dataset = registry.build("dataset", spec.table("dataset"))
    precision = spec.config["train"].get("precision", "fp32")
    spec = replace(spec, config={**spec.config, "train": {**spec.config["train"], "epochs": EPOCHS}})
    batch_size = spec.config["train"]["batch_size"]
    some = math.ceil(int(steps) / EPOCHS) * batch_size
    judged_on = _some(dataset.split("validation", spec.fold), min(some, 2 * batch_size))[0]

    def build() -> TrainState:
        learner = Watched.of(spec, registry, dataset, device)
        learner.watch(folder, some, is_killed=end == "killed")
        return learner

    here, kept = machine(spec.device), folder / CLIPS_CHECKPOINT
    metrics = [*map(registry.metric, REPORTED), registry.metric(spec.metric)]
    with in_memory(f"training in batches of {batch_size} clips"), watched(spec) as operators:
        learner, progress = checkpoint.resumed(kept, spec, here, build)
        while not progress.is_over(EPOCHS):
            progress = next_epoch(learner, judged_on, metrics, spec, progress)
            if not progress.diverged:
                checkpoint.save(kept, spec, here, learner, progress)
                on_epoch(progress.history[-1])
        found = predict(learner.judged, judged_on, batch_size, device, spec.loader_workers, precision)
        left = {name: value.cpu().contiguous() for name, value in learner.network.state_dict().items()}
    write(folder / END, safetensors.torch.save({**left, PREDICTIONS: torch.from_numpy(found.logits)}))
    write(folder / OPERATORS, json.dumps(list(operators)))


@dataclass
class Watched(TrainState):
    """A learner that notes a digest of every tensor of every step."""

    folder: Path = Path()
    last_step: int = 0

    def watch(self, folder: Path, clips: int, *, is_killed: bool) -> None:
        """Train on so many clips, note each step in `folder`; end this process in the second epoch where asked to."""
        self.folder = folder
        self.clips, chosen = _some(self.clips, clips)
        self.labels = self.labels[chosen]
        an_epoch = steps_per_epoch(len(self.labels), self.config.batch_size)
        self.last_step = an_epoch + math.ceil(an_epoch / 2) if is_killed else 0
        self._notes: list[tuple[str, str]] = []
        for name, parameter in self.network.named_parameters():
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(self._note_gradient, name)
            )

    def step(self, clips: Tensor, targets: Tensor) -> float:
        """Take one step as any learner does."""
        self._notes = [("the clips", _digest(clips)), ("the targets", _digest(targets))]
        loss = super().step(clips, targets)
        self._notes.insert(2, ("the loss", repr(loss)))
        self._notes += [(name, _digest(value)) for name, value in self.network.state_dict().items()]
        write(self.folder / NOTE.format(self.steps_done), json.dumps(self._notes))
        if self.steps_done == self.last_step:
            os._exit(KILLED)
        return loss

    def _note_gradient(self, name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._notes.append((f"the gradient of {name}", _digest(parameter.grad)))


@dataclass(frozen=True)
class Mismatch:
    """Where two rehearsals of one run part, and how far apart they end."""

    step: int
    """From 1."""
    tensor: str
    """What differs first in that step: clips, targets, loss, then gradients in the order of the backward pass."""
    weights: float
    """The largest difference of any weight at the end."""
    predictions: float
    """The largest difference of any logit at the end."""
    is_tolerable: bool
    """Whether the predictions differ by rounding alone."""


def parting(one: Path, other: Path) -> Mismatch | None:
    """Return where the rehearsals of two folders part; None where every tensor of every step is the same."""
    ends = [safetensors.torch.load_file(folder / END) for folder in (one, other)]
    said = [end.pop(PREDICTIONS) for end in ends]
    found = _first_difference(one, other)
    if found is None and _digest(said[0]) != _digest(said[1]):
        found = len(_notes(one)), "the predictions"
    if found is None:
        return None
    return Mismatch(
        *found,
        weights=largest_difference(*ends)[0],
        predictions=float((said[0] - said[1]).abs().max()),
        is_tolerable=torch.allclose(said[0], said[1], rtol=TOLERANCE, atol=TOLERANCE),
    )


def _first_difference(one: Path, other: Path) -> tuple[int, str] | None:
    """Return the first step that is noted differently, from 1, and what of it."""
    ours, theirs = _notes(one), _notes(other)
    for step, (mine, yours) in enumerate(zip(ours, theirs, strict=False), start=1):
        for before, after in zip(mine, yours, strict=False):
            if before != after:
                return step, before[0] if before[0] == after[0] else "the order of the backward pass"
        if len(mine) != len(yours):
            return step, "the tensors that get a gradient"
    return None if len(ours) == len(theirs) else (min(len(ours), len(theirs)) + 1, "the end of the training")


def _notes(folder: Path) -> list[list[list[str]]]:
    return [json.loads(path.read_bytes()) for path in sorted(folder.glob("step-*.json"))]


def _some(clips: Clips, most: int) -> tuple[Clips, NDArray[np.int64]]:
    """Return at most so many clips, taken evenly from the split, and which they are."""
    chosen = np.unique(np.linspace(0, len(clips.labels) - 1, most).astype(np.int64))

    def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        return clips.read(chosen[indexes], generator)

    some = Clips(
        ids=tuple(clips.ids[index] for index in chosen),
        sources=tuple(clips.sources[index] for index in chosen),
        labels=clips.labels[chosen],
        read=read,
    )
    return some, chosen


def _digest(tensor: Tensor) -> str:
    """Return a digest of a tensor's bytes and shape."""
    values = tensor.detach().cpu().contiguous()
    return hashlib.sha256(values.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest() + str(
        tuple(values.shape)
    )
