"""Probes of determinism: short trainings that record a digest of every tensor of every step, and their comparison."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from study.config.registry import Registry
from study.files import write
from study.ledger.compare import (
    OtherItems,
    Stage,
    StepDifference,
    TensorRecord,
    compare_steps,
    compare_weights,
)
from study.ledger.layout import CLIPS_CHECKPOINT
from study.machine import machine
from study.records import Epoch, RunSpec
from study.tasks.clips.data.contract import Clips, Pixels
from study.tasks.clips.data.seeded import build_dataset
from study.tasks.clips.training import checkpoint
from study.tasks.clips.training.batches import predict, steps_per_epoch
from study.tasks.clips.training.determinism import nondeterministic_operators, set_up
from study.tasks.clips.training.evaluation.scores import REPORTED
from study.tasks.clips.training.memory import explain_out_of_memory
from study.tasks.clips.training.settings import TrainSettings
from study.tasks.clips.training.state import TrainState
from study.tasks.clips.training.stepping.graph import NoRecorder
from study.tasks.clips.training.tensors import copy_of_weights
from study.tasks.clips.training.train import run_epoch

EPOCHS = 2
"""Epochs of a probe; a killed probe ends in the second one and is resumed."""
EXIT_CODE = 9
"""Exit code of a probe that ends itself, as if it had been killed."""
TOLERANCE = 1e-3
"""Absolute or relative tolerance within which the predictions of two probes differ by rounding only."""
STEP, END, OPERATORS, KILLED = "step-{:06d}.json", "end.safetensors", "operators.json", "killed"
PREDICTIONS = "predictions"
LOSS = "loss."


def probe(
    spec: RunSpec, folder: Path, on_epoch: Callable[[Epoch], None], steps: str, end: str = "whole"
) -> None:
    """Train for about `steps` steps, in two epochs, on a part of the clips; resume from a checkpoint in the folder.

    Writes a record of every step, the final weights and predictions, and the names of operators without a
    deterministic form.

    Args:
        spec: The run to probe.
        folder: A folder of its own.
        on_epoch: Callback after each epoch.
        steps: Total number of steps, at least 2.
        end: ``killed`` to end the process in the middle of the second epoch.
    """
    device = set_up(spec)
    registry = Registry(spec.modules)
    dataset = build_dataset(registry, spec.table("dataset"))
    spec = replace(spec, config={**spec.config, "train": {**spec.config["train"], "epochs": EPOCHS}})
    settings = TrainSettings.of(spec)
    clips = math.ceil(int(steps) / EPOCHS) * settings.batch_size
    validation = _subset(dataset.split("validation", spec.fold), min(clips, 2 * settings.batch_size))[0]

    def build() -> TrainState:
        state = TrainState.of(spec, registry, dataset, device)
        state.clips, indexes = _subset(state.clips, clips)
        state.labels = state.labels[indexes]
        epoch_steps = steps_per_epoch(len(state.labels), settings.batch_size)
        last_step = epoch_steps + math.ceil(epoch_steps / 2) if end == "killed" else None
        state.on_step = _StepRecorder(state, folder, last_step)
        state.recorder = state.recorder and NoRecorder()  # the hooks of the recorder read every gradient
        return state

    this_machine, checkpoint_file = machine(spec.device), folder / CLIPS_CHECKPOINT
    metrics = [*map(registry.metric, REPORTED), registry.metric(spec.metric)]
    with (
        explain_out_of_memory(f"training in batches of {settings.batch_size} clips"),
        nondeterministic_operators(spec) as operators,
    ):
        state, progress = checkpoint.resume(checkpoint_file, spec, this_machine, build)
        while not progress.is_over(EPOCHS):
            progress = run_epoch(state, validation, metrics, spec, progress)
            if not progress.diverged:
                checkpoint.save(checkpoint_file, spec, this_machine, state, progress)
                on_epoch(progress.history[-1])
        predictions = predict(
            state.eval_model,
            validation,
            settings.batch_size,
            device,
            precision=settings.precision,
            seed=spec.seed,
        )
        weights = _tensors(state)
    final = {**weights, PREDICTIONS: torch.from_numpy(predictions.logits)}
    write(folder / END, safetensors.torch.save(final))
    write(folder / OPERATORS, json.dumps(list(operators)))


class _StepRecorder:
    """Writes a record of every tensor of every step: clips, targets, loss, gradients as they come, then weights.

    Args:
        state: The training; gradients are recorded by hooks on its parameters.
        folder: The folder of the records.
        last_step: The step after which the process ends itself; None for none.
    """

    def __init__(self, state: TrainState, folder: Path, last_step: int | None) -> None:
        self._state, self._folder, self._last_step = state, folder, last_step
        self._gradients: list[TensorRecord] = []
        modules = {"": state.network} | ({LOSS: state.loss} if isinstance(state.loss, nn.Module) else {})
        named = ((k + name, p) for k, module in modules.items() for name, p in module.named_parameters())
        for name, parameter in named:
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(self._record_gradient, name)
            )

    def __call__(self, clips: Tensor, targets: Tensor, loss: float) -> None:
        """Write the record of the step that has just been taken."""
        records = [
            TensorRecord(Stage.CLIPS, "", _digest(clips)),
            TensorRecord(Stage.TARGETS, "", _digest(targets)),
            TensorRecord(Stage.LOSS, "", repr(loss)),
            *self._gradients,
            *(
                TensorRecord(Stage.WEIGHTS, name, _digest(value))
                for name, value in _tensors(self._state).items()
            ),
        ]
        self._gradients = []
        step = self._state.steps_done
        write(self._folder / STEP.format(step), json.dumps([astuple(record) for record in records]))
        if step == self._last_step:
            write(self._folder / KILLED, "")
            os._exit(EXIT_CODE)

    def _record_gradient(self, name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._gradients.append(TensorRecord(Stage.GRADIENT, name, _digest(parameter.grad)))


def _tensors(state: TrainState) -> dict[str, Tensor]:
    """Return the tensors of the network, and those of its loss behind the prefix `LOSS`."""
    loss = copy_of_weights(state.loss) if isinstance(state.loss, nn.Module) else {}
    return copy_of_weights(state.network) | {LOSS + name: value for name, value in loss.items()}


@dataclass(frozen=True)
class ProbeDifference:
    """Where two probes of one run first differ, and by how much they differ at the end."""

    first: StepDifference
    weights: float
    """Largest difference of a weight at the end."""
    predictions: float
    """Largest difference of a logit at the end."""
    is_rounding: bool
    """Whether the predictions agree within `TOLERANCE`."""


def compare_probes(folder: Path, other: Path) -> ProbeDifference | None:
    """Return the difference of the probes in two folders; None if every tensor of every step is the same."""
    weights, other_weights = (safetensors.torch.load_file(path / END) for path in (folder, other))
    logits, other_logits = (tensors.pop(PREDICTIONS) for tensors in (weights, other_weights))
    steps = _read_steps(folder)
    first = compare_steps(steps, _read_steps(other))
    if first is None and _digest(logits) != _digest(other_logits):
        first = StepDifference(len(steps), Stage.PREDICTIONS)
    if first is None:
        return None
    difference = compare_weights(weights, other_weights)
    gap = difference.largest_gap if isinstance(difference, OtherItems) else None
    return ProbeDifference(
        first,
        weights=gap or 0.0,
        predictions=float((logits - other_logits).abs().max()),
        is_rounding=torch.allclose(logits, other_logits, rtol=TOLERANCE, atol=TOLERANCE),
    )


def _read_steps(folder: Path) -> list[list[TensorRecord]]:
    return [
        [TensorRecord(Stage(stage), name, digest) for stage, name, digest in json.loads(path.read_bytes())]
        for path in sorted(folder.glob("step-*.json"))
    ]


def _subset(clips: Clips, most: int) -> tuple[Clips, NDArray[np.int64]]:
    """Return at most `most` clips, spread evenly over the split, and their indexes."""
    chosen = np.unique(np.linspace(0, len(clips.labels) - 1, most).astype(np.int64))

    def read(indexes: NDArray[np.int64], generator: np.random.Generator | None) -> Pixels:
        return clips.read(chosen[indexes], generator)

    subset = Clips(
        ids=tuple(clips.ids[index] for index in chosen),
        sources=tuple(clips.sources[index] for index in chosen),
        labels=clips.labels[chosen],
        read=read,
    )
    return subset, chosen


def _digest(tensor: Tensor) -> str:
    """Return a digest of a tensor's bytes and shape."""
    values = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(values.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    return digest + str(tuple(values.shape))
