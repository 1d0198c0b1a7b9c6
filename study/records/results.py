"""Records of what came of a run: epochs, the result, the test, measures, or the failure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from study.hashing import digest
from study.records.run import RunSpec
from study.records.serialization import SCHEMA

Metrics = Mapping[str, float]
Status = Literal["finished", "diverged"]


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training showed."""

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
    """Whatever else was reported: values of metrics that the task does not declare."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Machine:
    """What a run was computed with: recorded, not part of its identity."""

    versions: Mapping[str, str]
    hardware: str
    platform: str


@dataclass(frozen=True)
class RunResult:
    """The end of a training that ran to a result; a failed one leaves a `Failure` instead."""

    run: str
    status: Status
    """``diverged``: a value that must be finite was not; there are no metrics then."""
    best_epoch: int
    """The epoch that judges the training and is tested; 0 if none."""
    validation: Metrics
    """Metrics of that epoch on the validation split; empty where it was trained on."""
    history: tuple[Epoch, ...]
    parameters: int | None
    """Trainable values; None where the training does not say."""
    seconds: float
    machine: Machine
    has_weights: bool = True
    """Whether the training left weights to test."""
    nondeterministic: tuple[str, ...] = ()
    """Operators that have no deterministic form on this device and were used."""
    warnings: tuple[str, ...] = ()
    """Sentences on what the training did that limits its result."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Stopped:
    """A search trial that was given up early: it answers its own search's decision and no other request."""

    run: str
    rule: Mapping[str, float]
    """The least gain at the end of an epoch that let the trial go on, by epoch."""
    epoch: int
    """The epoch after which it was stopped, from 1."""
    score: float
    """The best primary metric up to that epoch, in its own unit."""
    history: tuple[Epoch, ...]
    schema: int = SCHEMA

    @property
    def file(self) -> str:
        """The name of its file in the run's folder: one a rule."""
        return f"stopped-{digest(self.rule)}.json"


def stopped(spec: RunSpec, rule: Mapping[str, float], history: Sequence[Epoch]) -> Stopped | None:
    """Return what `rule` makes of a trial with this history, None where it may go on.

    A trial is stopped after the first epoch at or after one named in the rule up to which its best primary
    metric on the validation split, turned so that higher is better, is below the rule's: whatever came after that
    epoch is no part of the answer.
    """
    best, asked = -math.inf, sorted((int(epoch), least) for epoch, least in rule.items())
    for number, entry in enumerate(history, start=1):
        if (value := entry.validation.get(spec.metric_name)) is not None:
            best = max(best, spec.gain(value))
        while asked and asked[0][0] <= entry.epoch:
            if best < asked.pop(0)[1] and math.isfinite(best):
                return Stopped(spec.id, rule, entry.epoch, spec.gain(best), tuple(history[:number]))
    return None


def best_gain(spec: RunSpec, history: Sequence[Epoch], epoch: int) -> float | None:
    """Return the best gain that a history had when it first reached `epoch`; None where it never did."""
    best = -math.inf
    for entry in history:
        if (value := entry.validation.get(spec.metric_name)) is not None:
            best = max(best, spec.gain(value))
        if entry.epoch >= epoch:
            return best if math.isfinite(best) else None
    return None


@dataclass(frozen=True)
class Breakdown:
    """One figure for each part of the test split, such as the recall of each class; described, never compared."""

    name: str
    """What the rows are, such as ``class``."""
    title: str
    """What the values are, such as ``Recall of every class``."""
    values: Mapping[str, float]
    """By row, in the order to print; a row without a value is left out."""
    unit: str = "%"
    scale: float = 100.0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Examples in each row, where that is worth printing."""


@dataclass(frozen=True)
class TestResult:
    """What the best epoch's weights score on the test split: written once, read by analysis alone."""

    __test__ = False  # for pytest, which would take it for a class of tests

    run: str
    metrics: Metrics
    """The declared metrics in their own units, and what else was reported."""
    examples: int
    """Examples in the test split; 0 where that is not known."""
    seconds: float
    breakdowns: tuple[Breakdown, ...] = ()
    seen_in_training: bool = False
    """Whether the training itself reported these figures, so that its code has seen the test split."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Figure:
    """One figure of a measure."""

    value: float | None
    """None where it is not defined."""
    chance: float | None
    """What is expected where there is nothing to be found; None where that is not known."""
    unit: str
    about: str
    """What the figure is, in words that follow its name."""
    undefined: str = ""
    """Why there is no value."""


@dataclass(frozen=True)
class Measurement:
    """What a measure found in a run's network on the test split: written once, read by analysis alone."""

    run: str
    measure: str
    about: str
    """The measure in one line."""
    figures: Mapping[str, Figure]
    examples: int
    seconds: float
    schema: int = SCHEMA


@dataclass(frozen=True)
class Failure:
    """Why a run or a job ended without a result."""

    run: str
    job: str
    reason: str
    """One line."""
    detail: str
    """Traceback, or the last output of a worker that died."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it happened on: host, device, hardware, platform, versions."""
    schema: int = SCHEMA
