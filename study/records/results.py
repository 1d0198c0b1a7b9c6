"""Records that a run writes: epochs, the result, the test result, measurements, or the failure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from study.records.run import RunSpec
from study.records.serialization import SCHEMA

Metrics = Mapping[str, float]
Status = Literal["finished", "diverged"]


class TimePart(StrEnum):
    """What a training spends its time on."""

    DATA = "data"
    """Reading clips in the training process; on a GPU, the time in which it has none to compute on."""
    WAITING = "waiting"
    """The same where loader processes read the clips: the time in which none are there."""
    TO_DEVICE = "to_device"
    """Copies from the host to the device, and conversion to floats."""
    AUGMENTATION = "augmentation"
    """Augmentation and mixing."""
    FORWARD = "forward"
    """The network and the loss."""
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    """Gradient clipping, the update of the weights, and their average."""
    STEP = "step"
    """Forward, backward and optimizer together, where one CUDA graph holds them."""
    VALIDATION = "validation"
    CHECKPOINT = "checkpoint"
    """Checkpoints and the copy of the best weights."""


@dataclass(frozen=True)
class Epoch:
    """The figures of one epoch."""

    epoch: int
    """Counted from 1."""
    train_loss: float | None
    """None where the training reports none."""
    learning_rate: float | None
    """At the epoch's last step."""
    validation: Metrics
    """The declared metrics on the validation split, in their own units."""
    seconds: float
    """Wall time of training and validation."""
    diagnostics: Metrics = field(default_factory=dict)
    """All other reported values: those of metrics that the task does not declare."""
    system: Metrics = field(default_factory=dict)
    """The load of the machine at the end of the epoch, by MLflow's names; empty where an epoch before was sampled."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Machine:
    """The library versions and hardware of a run: recorded, but not part of its identity."""

    versions: Mapping[str, str]
    hardware: str
    platform: str


@dataclass(frozen=True)
class RunResult:
    """The result of a training; a failed one writes a `Failure` instead."""

    run: str
    status: Status
    """``diverged``: a value that must be finite was not; there are no metrics then."""
    best_epoch: int
    """The epoch whose metrics are the result and whose weights are tested; 0 if none."""
    validation: Metrics
    """Metrics of that epoch on the validation split; empty where the training includes that split."""
    history: tuple[Epoch, ...]
    parameters: int | None
    """Trainable values; None where unknown."""
    seconds: float
    machine: Machine
    has_weights: bool = True
    """Whether the training saved weights to test."""
    nondeterministic: tuple[str, ...] = ()
    """Operators that ran without a deterministic implementation on this device."""
    warnings: tuple[str, ...] = ()
    """Sentences on what limits the result."""
    seconds_in: Mapping[str, float] = field(default_factory=dict)
    """Seconds by `TimePart`, all attempts together; the rest of `seconds` went elsewhere. Empty where not measured."""
    diverged_step: int | None = None
    """The optimizer step, from 1, whose loss or gradient was not finite; None where there is none or it is unknown."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each file that belongs to the result, by name; empty if an older version wrote it."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Stopped:
    """A pruned search trial: valid for the decision of its own search alone."""

    run: str
    rule: Mapping[str, float]
    """The least gain, by epoch, at which the trial continued."""
    epoch: int
    """The epoch after which it was stopped, from 1."""
    score: float
    """The best primary metric up to that epoch, in its own unit."""
    history: tuple[Epoch, ...]
    schema: int = SCHEMA


def stopped(spec: RunSpec, rule: Mapping[str, float], history: Sequence[Epoch]) -> Stopped | None:
    """Return the record of a trial that `rule` prunes; None where the trial continues.

    A trial is stopped after the first epoch, at or after one in the rule, at which the best gain of its primary
    metric on the validation split so far is below the rule's. Later epochs are left out of the record.
    """
    best, limits = -math.inf, sorted((int(epoch), least) for epoch, least in rule.items())
    for number, entry in enumerate(history, start=1):
        if (value := entry.validation.get(spec.metric_name)) is not None:
            best = max(best, spec.gain(value))
        while limits and limits[0][0] <= entry.epoch:
            if best < limits.pop(0)[1] and math.isfinite(best):
                return Stopped(spec.id, rule, entry.epoch, spec.gain(best), tuple(history[:number]))
    return None


def best_gain(spec: RunSpec, history: Sequence[Epoch], epoch: int) -> float | None:
    """Return the best gain up to the first epoch at or after `epoch`; None where the history is shorter."""
    best = -math.inf
    for entry in history:
        if (value := entry.validation.get(spec.metric_name)) is not None:
            best = max(best, spec.gain(value))
        if entry.epoch >= epoch:
            return best if math.isfinite(best) else None
    return None


@dataclass(frozen=True)
class Breakdown:
    """One figure for each part of the test split, such as the recall of each class; reported without a verdict."""

    name: str
    """What the rows are, such as ``class``."""
    title: str
    """What the values are, such as ``Recall of every class``."""
    values: Mapping[str, float]
    """By row, in the order to print; a row without a value is left out."""
    unit: str = "%"
    scale: float = 100.0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Examples in each row; empty to leave the column out."""


@dataclass(frozen=True)
class TestResult:
    """Scores of the tested weights on the test split: written once, read by analysis alone."""

    __test__ = False  # keeps pytest from collecting it

    run: str
    metrics: Metrics
    """The declared metrics in their own units, and all other reported values."""
    examples: int
    """Examples in the test split; 0 where unknown."""
    seconds: float
    breakdowns: tuple[Breakdown, ...] = ()
    seen_in_training: bool = False
    """Whether the training itself reported these figures, so that its code reads the test split."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each file that belongs to the result, by name; empty if an older version wrote it."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Figure:
    """One figure of a measure."""

    value: float | None
    """None where it is undefined."""
    chance: float | None
    """The expected value under the null hypothesis; None where unknown."""
    unit: str
    about: str
    """A description that follows the name in reports."""
    undefined: str = ""
    """The reason why the value is undefined."""


@dataclass(frozen=True)
class Measurement:
    """The figures of a measure for a run's network on the test split: written once, read by analysis alone."""

    run: str
    measure: str
    about: str
    """A description of the measure in one line."""
    figures: Mapping[str, Figure]
    examples: int
    seconds: float
    schema: int = SCHEMA


@dataclass(frozen=True)
class Failure:
    """The reason why a run or a job ended without a result."""

    run: str
    job: str
    reason: str
    """One line."""
    detail: str
    """A traceback, or the last output of a worker that died."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Host, device, hardware, platform and versions."""
    schema: int = SCHEMA
