"""What crosses a process or the disk: frozen, typed, numbered by a schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from study.errors import InputError
from study.hashing import digest

SCHEMA = 1
Record = TypeVar("Record")
Metrics = Mapping[str, float]
Status = Literal["finished", "diverged"]


def _uncounted(default: Any) -> Any:
    """Declare a field of a `RunSpec` that changes no number and so is no part of its identity."""
    if isinstance(default, Mapping):
        return field(default_factory=dict, metadata={"counts": False})
    return field(default=default, metadata={"counts": False})


def _added(neutral: Any) -> Any:
    """Declare a field of a `RunSpec` that was added later: it counts wherever it is not `neutral`."""
    return field(default=neutral, metadata={"neutral": neutral})


@dataclass(frozen=True)
class RunSpec:
    """One training: all that can change its numbers, and where this machine keeps its data."""

    config: Mapping[str, Any]
    """Resolved configuration: one table a kind of component, and ``train``."""
    seed: int
    data_digest: str
    code_digest: str
    fold: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32"] = "fp32"
    tf32: bool = False
    threads: int = 1
    places: Mapping[str, str] = _uncounted({})
    """Folders and files on this machine, as ``{"dataset.root": …}``: they change no number.

    A file whose content counts is ``PATH#DIGEST``; the digest alone is in the configuration.
    """
    modules: tuple[str, ...] = _uncounted(())
    """The user's component modules, for the worker's registry; their code is in `code_digest`."""
    neutral: Mapping[str, Any] = _uncounted({})
    """Parameters that were added later, as ``{"dataset.occlusion": 0.0}``: at this value they do not count."""
    loader_workers: int = _uncounted(0)
    """Processes that read clips for the training; 0 reads them where it trains."""
    schema: int = _uncounted(SCHEMA)

    @cached_property
    def id(self) -> str:
        """The run's identity, ``r1-`` and 16 hexadecimal digits."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if self._counts(f)}
        return "r1-" + digest({**named, "config": self.counted})

    def _counts(self, f: Field[Any]) -> bool:
        added_and_neutral = "neutral" in f.metadata and getattr(self, f.name) == f.metadata["neutral"]
        return f.metadata.get("counts", True) and not added_and_neutral

    @property
    def counted(self) -> dict[str, dict[str, Any]]:
        """The configuration without the parameters that were added later and stand at their neutral value."""
        return {
            kind: {
                key: value
                for key, value in table.items()
                if f"{kind}.{key}" not in self.neutral or self.neutral[f"{kind}.{key}"] != value
            }
            for kind, table in self.config.items()
        }

    def table(self, kind: str) -> dict[str, Any]:
        """Return one table of the configuration with this machine's places put back."""
        prefix = kind + "."
        places = {
            key.removeprefix(prefix): path for key, path in self.places.items() if key.startswith(prefix)
        }
        return {**self.config[kind], **places}

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Every table of the configuration, with this machine's places put back."""
        return {kind: self.table(kind) for kind in self.config}


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training showed: losses, and metrics on the selection split in [0, 1]."""

    epoch: int
    """Counted from 1."""
    train_loss: float
    learning_rate: float
    """At the epoch's last step."""
    selection: Metrics
    """``loss``, ``war``, ``uar`` and ``recall/<class>`` on the selection split."""
    seconds: float
    """Wall time of training and evaluation."""
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
    """``diverged``: the loss stopped being finite; the metrics are then the worst possible."""
    best_epoch: int
    """The epoch with the highest primary metric on the selection split, the earliest on ties; 0 if none."""
    selection: Metrics
    """Metrics of the best epoch on the selection split."""
    history: tuple[Epoch, ...]
    parameters: int
    seconds: float
    machine: Machine
    nondeterministic: tuple[str, ...] = ()
    """Operators that have no deterministic form on this device and were used."""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Stopped:
    """A search trial that was given up early: it answers its own search's decision and no other request."""

    run: str
    rule: Mapping[str, float]
    """The least score at the end of an epoch that let the trial go on, by epoch."""
    epoch: int
    """The epoch after which it was stopped, from 1."""
    score: float
    """The best selection score up to that epoch, in [0, 1]."""
    history: tuple[Epoch, ...]
    schema: int = SCHEMA

    @property
    def file(self) -> str:
        """The name of its file in the run's folder: one a rule."""
        return f"stopped-{digest(self.rule)}.json"


def stopped(spec: RunSpec, rule: Mapping[str, float], history: Sequence[Epoch]) -> Stopped | None:
    """Return what `rule` makes of a trial with this history, None where it may go on.

    A trial is stopped after the first epoch named in the rule up to which its best selection score, by
    ``train.select_by``, is below the rule's: whatever came after that epoch is no part of the answer.
    """
    best = -math.inf
    for number, epoch in enumerate(history, start=1):
        best = max(best, epoch.selection[spec.config["train"]["select_by"]])
        if best < rule.get(str(number), -math.inf):
            return Stopped(spec.id, rule, number, best, tuple(history[:number]))
    return None


@dataclass(frozen=True)
class TestResult:
    """What the best epoch's weights score on the test split: written once, read by analysis alone."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    run: str
    metrics: Metrics
    """``loss``, ``war``, ``uar`` and ``recall/<class>`` in [0, 1]."""
    clips: int
    seconds: float
    schema: int = SCHEMA


LARGEST_DISAGREEMENT = 0.05
"""Between two counters of operations, beyond which one of them must be wrong."""


@dataclass(frozen=True)
class Part:
    """What one part of a network costs, for one clip."""

    name: str
    parameters: int
    """Trainable values."""
    macs: int


@dataclass(frozen=True)
class Profile:
    """What a network costs, for one clip of the study's size."""

    parameters: int
    """Trainable values."""
    macs: int
    """Multiply-accumulates of one forward pass, by fvcore."""
    uncounted: tuple[str, ...]
    """Operators that the counter knows nothing about."""
    input_shape: tuple[int, ...]
    """Batch, channels, frames, height, width."""
    unused: int | None = None
    """Trainable values that get no gradient in a training step; None, here and below, where not counted."""
    unused_tensors: tuple[str, ...] = ()
    """The names of their tensors."""
    flops: int | None = None
    """Floating-point operations of one forward pass, by torch's counter: two for each multiply-accumulate."""
    activation_bytes: int | None = None
    """What one clip of a training batch has kept for the backward pass."""
    parts: tuple[Part, ...] = ()
    """The network's own modules, in their order."""
    schema: int = SCHEMA

    @property
    def disagreement(self) -> float | None:
        """By how much of ``2 x macs`` the FLOPs differ from it; None where there are not both."""
        return self.flops / (2 * self.macs) - 1 if self.flops is not None and self.macs else None

    @property
    def is_doubtful(self) -> bool:
        """Whether the two counters differ by more than they may."""
        return self.disagreement is not None and abs(self.disagreement) > LARGEST_DISAGREEMENT


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
    clips: int
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


def to_json(record: Any) -> str:
    """Return a record as indented JSON, keys in the order of their declaration."""
    return json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""``(record, n)`` to the function that turns schema n into n + 1; none where the record did not change.

A field that is added with a default needs no new schema. What is nested in a record is upgraded by its function.
"""


class TornError(InputError):
    """A file that ends before its record does, as a crashed disk leaves it."""


def from_json(kind: type[Record], text: str | bytes, where: str = "") -> Record:
    """Read a record, older schemas upgraded step by step.

    Raises:
        TornError: The text is no JSON: the file was cut short.
        InputError: The record was written by a newer version, or is not such a record.
    """
    try:
        data = json.loads(text)
        schema = data.get("schema", SCHEMA)
        if schema > SCHEMA:
            raise InputError(
                f"{where}: written with schema {schema}, this version reads up to {SCHEMA}; upgrade study."
            )
        record: Record = _adapter(cast(Any, kind)).validate_python(upgraded(kind.__name__, data))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TornError(f"{where}: not a readable {kind.__name__}: {error}") from None
    except (ValidationError, AttributeError) as error:
        raise InputError(f"{where}: not a readable {kind.__name__}: {error}") from None
    return record


def upgraded(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a record of some schema as this version's, step by step."""
    while (schema := data.get("schema", SCHEMA)) < SCHEMA:
        upgrade = UPGRADES.get((kind, schema), dict)
        data = {**upgrade(data), "schema": schema + 1}
    return data


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
