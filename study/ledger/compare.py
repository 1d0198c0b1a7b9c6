"""Bit-for-bit comparison of two trainings of one run: whether they agree and, if not, where and by how much.

The result is data; `study.terminal.comparison` words it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from study.errors import file_error
from study.hashing import file_digest
from study.ledger.layout import RESULT, TEST_INPUTS, TEST_PREDICTIONS, VALIDATION_PREDICTIONS, WEIGHTS
from study.ledger.predictions import load
from study.ledger.reading import differing_file
from study.records import Epoch, RunResult, Status, from_json

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)
TENSORS, USER_WEIGHTS = WEIGHTS


class Part(StrEnum):
    """Part of a training that is compared."""

    HISTORY = "history"
    WEIGHTS = "weights"
    PREDICTIONS = "predictions"
    RESULT = "result"


class Unit(StrEnum):
    """Unit in which the size of a compared part is counted."""

    EPOCHS = "epochs"
    TENSORS = "tensors"
    FILES = "files"
    EXAMPLES = "examples"


@dataclass(frozen=True)
class Missing:
    """The recorded training left this part, the repeated one did not."""

    status: Status
    """How the repeated training ended."""


@dataclass(frozen=True)
class OtherValue:
    """A recorded value and the value of the repeated training."""

    name: str
    recorded: Any
    repeated: Any


@dataclass(frozen=True)
class OtherValues:
    """Values of the result, or of one epoch, that differ."""

    values: tuple[OtherValue, ...]
    epoch: int | None = None
    """The first epoch that differs; None for the result."""


@dataclass(frozen=True)
class OtherLength:
    """The numbers of epochs differ."""

    recorded: int
    repeated: int


@dataclass(frozen=True)
class OtherLayout:
    """The weights belong to another network, or the predictions to other examples."""

    name: str
    """The first tensor whose name, shape or type differs, or the field of the predictions that differs."""


@dataclass(frozen=True)
class OtherItems:
    """Tensors, files or examples that differ."""

    count: int
    first: str
    largest_gap: float | None = None
    """Largest absolute difference of a weight or logit; None for files."""
    largest_in: str = ""
    """The tensor with the largest difference."""
    reclassified: int = 0
    """Examples whose predicted class differs."""


Difference = Missing | OtherValues | OtherLength | OtherLayout | OtherItems


@dataclass(frozen=True)
class Comparison:
    """Comparison of one part of two trainings."""

    part: Part
    difference: Difference | None = None
    """None if the part is identical, or was not recorded."""
    size: int = 0
    """Number of epochs, tensors, files or examples compared."""
    unit: Unit | None = None
    """None for the result, and if there was nothing to compare."""
    is_compared: bool = True
    """False if the recorded training left nothing of this part."""


def compare_trainings(recorded: Path, repeated: Path) -> list[Comparison]:
    """Compare what two trainings left in their folders; only times may differ.

    A part that the recorded folder no longer holds is not compared.

    Raises:
        InputError: A file is damaged.
        FileNotFoundError: A folder has no result.
    """
    before, after = (
        from_json(RunResult, (folder / RESULT).read_bytes(), str(folder / RESULT))
        for folder in (recorded, repeated)
    )
    if changed := differing_file(recorded, before.files, TEST_INPUTS):
        _log.warning(
            "%s was changed after it was written: a difference in it is not one of the training.", changed
        )
    comparisons = [_compare_histories(before, after)]
    for part, file, compare in (
        (Part.WEIGHTS, TENSORS, _compare_tensors),
        (Part.WEIGHTS, USER_WEIGHTS, _compare_files),
        (Part.PREDICTIONS, VALIDATION_PREDICTIONS, _compare_predictions),
        (Part.PREDICTIONS, TEST_PREDICTIONS, _compare_predictions),
    ):
        was_kept, is_kept = (recorded / file).exists(), (repeated / file).exists()
        if was_kept and is_kept:
            comparisons.append(compare(recorded / file, repeated / file))
        elif was_kept and file != TEST_PREDICTIONS:  # the test is another job, which is not repeated
            comparisons.append(Comparison(part, Missing(after.status)))
    for part in (Part.WEIGHTS, Part.PREDICTIONS):
        if part not in {comparison.part for comparison in comparisons}:
            comparisons.append(Comparison(part, is_compared=False))
    return [*comparisons, _compare_results(before, after)]


def compare_epochs(recorded: Epoch, repeated: Epoch) -> OtherValues | None:
    """Return the values of two epochs that differ, the largest difference first; None if only times do."""
    before, after = _values(recorded), _values(repeated)
    gaps = {
        name: abs(before.get(name, np.nan) - after.get(name, np.nan))
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }
    names = sorted(gaps, key=lambda name: (-gaps[name], name))
    values = tuple(OtherValue(name, before.get(name), after.get(name)) for name in names)
    return OtherValues(values, recorded.epoch) if values else None


def compare_weights(recorded: Mapping[str, Tensor], repeated: Mapping[str, Tensor]) -> Difference | None:
    """Return how two state dicts differ; None if every bit is the same."""
    if layouts := sorted(_layout(recorded) ^ _layout(repeated)):
        return OtherLayout(layouts[0])
    differing = [name for name in recorded if not _is_identical(recorded[name], repeated[name])]
    if not differing:
        return None
    gap, name = max(
        ((_largest_gap(recorded[name], repeated[name]), name) for name in differing),
        key=lambda item: (np.nan_to_num(item[0], nan=np.inf), item[1]),
    )
    return OtherItems(len(differing), differing[0], gap, name)


def _values(epoch: Epoch) -> dict[str, float]:
    values = {"train loss": epoch.train_loss, "learning rate": epoch.learning_rate}
    values |= {
        f"validation {name}": value for name, value in (*epoch.diagnostics.items(), *epoch.validation.items())
    }
    return {name: value for name, value in values.items() if value is not None}


def _compare_histories(recorded: RunResult, repeated: RunResult) -> Comparison:
    difference: Difference | None = next(
        filter(None, map(compare_epochs, recorded.history, repeated.history)), None
    )
    before, after = len(recorded.history), len(repeated.history)
    if difference is None and before != after:
        difference = OtherLength(before, after)
    return Comparison(Part.HISTORY, difference, before, Unit.EPOCHS)


def _compare_tensors(recorded: Path, repeated: Path) -> Comparison:
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        before, after = (safetensors.torch.load_file(path) for path in (recorded, repeated))
    except SafetensorError as error:
        raise file_error(recorded, f"not a file of weights: {error}") from None
    if (extra := after.keys() - before.keys()) and not before.keys() - after.keys():
        after = {name: tensor for name, tensor in after.items() if name not in extra}
    return Comparison(Part.WEIGHTS, compare_weights(before, after), len(before), Unit.TENSORS)


def _compare_files(recorded: Path, repeated: Path) -> Comparison:
    """Compare a file, or all files in a folder, byte by byte."""
    before, after = _digests(recorded), _digests(repeated)
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    difference = OtherItems(len(differing), differing[0]) if differing else None
    return Comparison(Part.WEIGHTS, difference, len(before), Unit.FILES)


def _compare_predictions(recorded: Path, repeated: Path) -> Comparison:
    before, after = load(recorded), load(repeated)
    size = len(before.labels)
    for field in fields(before):
        if field.name != "logits" and not np.array_equal(
            getattr(before, field.name), getattr(after, field.name)
        ):
            return Comparison(Part.PREDICTIONS, OtherLayout(field.name), size, Unit.EXAMPLES)
    difference = None
    if len(rows := np.flatnonzero((before.logits != after.logits).any(axis=1))):
        difference = OtherItems(
            count=len(rows),
            first=str(before.ids[rows[0]]),
            largest_gap=float(np.abs(before.logits - after.logits).max()),
            reclassified=int((before.logits.argmax(1) != after.logits.argmax(1)).sum()),
        )
    return Comparison(Part.PREDICTIONS, difference, size, Unit.EXAMPLES)


def _compare_results(recorded: RunResult, repeated: RunResult) -> Comparison:
    """Compare all but times, machine and history."""
    values = [
        OtherValue(name, getattr(recorded, name), getattr(repeated, name))
        for name in ("status", "best_epoch", "validation", "parameters", "nondeterministic")
    ]
    differing = tuple(value for value in values if value.recorded != value.repeated)
    return Comparison(Part.RESULT, OtherValues(differing) if differing else None)


def _digests(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): file_digest(file) for file in files}


def _layout(weights: Mapping[str, Tensor]) -> set[str]:
    return {f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in weights.items()}


def _is_identical(tensor: Tensor, other: Tensor) -> bool:
    import torch

    return torch.equal(tensor.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


def _largest_gap(tensor: Tensor, other: Tensor) -> float:
    return float((tensor.double() - other.double()).abs().max()) if tensor.numel() else 0.0


class Stage(StrEnum):
    """Stage of a training step whose tensors are recorded, in the order of a step."""

    CLIPS = "clips"
    TARGETS = "targets"
    LOSS = "loss"
    GRADIENT = "gradient"
    WEIGHTS = "weights"
    BACKWARD_ORDER = "order of the backward pass"
    GRADIENT_TENSORS = "tensors with a gradient"
    END = "end of the training"
    PREDICTIONS = "predictions"


@dataclass(frozen=True)
class TensorRecord:
    """Digest of one tensor of a training step."""

    stage: Stage
    tensor: str
    """Name of the weight; empty for clips, targets and loss."""
    digest: str


Step = Sequence[TensorRecord]


@dataclass(frozen=True)
class StepDifference:
    """The first step in which two trainings differ, and the first tensor of that step."""

    step: int
    """From 1."""
    stage: Stage
    tensor: str = ""


def compare_steps(recorded: Sequence[Step], repeated: Sequence[Step]) -> StepDifference | None:
    """Return the first difference of two trainings; None if every tensor of every step is the same."""
    for number, (before, after) in enumerate(zip(recorded, repeated, strict=False), start=1):
        for tensor, other in zip(before, after, strict=False):
            if (tensor.stage, tensor.tensor) != (other.stage, other.tensor):
                return StepDifference(number, Stage.BACKWARD_ORDER)
            if tensor.digest != other.digest:
                return StepDifference(number, tensor.stage, tensor.tensor)
        if len(before) != len(after):
            return StepDifference(number, Stage.GRADIENT_TENSORS)
    if len(recorded) != len(repeated):
        return StepDifference(min(len(recorded), len(repeated)) + 1, Stage.END)
    return None
