"""What crosses a process or the disk: frozen, typed, numbered by a schema."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from study.errors import InputError
from study.hashing import digest
from study.metrics import Direction

SCHEMA = 2
OLDEST_SCHEMA = 2
"""The schema of the first release; records of earlier versions are refused."""
Record = TypeVar("Record")
Metrics = Mapping[str, float]
Status = Literal["finished", "diverged"]


def _uncounted(default: Any) -> Any:
    """Declare a field of a `RunSpec` that changes no number and so is no part of its identity."""
    if isinstance(default, Mapping):
        return field(default_factory=dict, metadata={"counts": False})
    return field(default=default, metadata={"counts": False})


@dataclass(frozen=True)
class RunSpec:
    """One training: all that can change its numbers, and where this machine keeps its data."""

    config: Mapping[str, Any]
    """Resolved configuration, as nested tables."""
    seed: int
    data_digest: str
    """Empty where the data are not tracked."""
    code_digest: str
    fold: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    task: str = "clips"
    """The name of the task."""
    metric: Mapping[str, Any] = field(default_factory=lambda: {"name": ""})
    """The primary metric, by which epochs are compared: its name, and its parameters where it has some."""
    direction: Direction = "maximize"
    counts: Mapping[str, Any] = field(default_factory=dict)
    """What the task adds to the identity, such as the version of its training loop."""
    options: Mapping[str, Any] = _uncounted({})
    """The study's ``[task]`` table; whatever of it counts is in `counts`."""
    local_paths: Mapping[str, str] = _uncounted({})
    """Folders and files on this machine, as ``{"dataset.root": …}``: they change no number.

    A file whose content counts is ``PATH#DIGEST``; the digest alone is in the configuration.
    """
    modules: tuple[str, ...] = _uncounted(())
    """The user's component modules, for the worker's registry; their code is in `code_digest`."""
    import_paths: tuple[str, ...] = _uncounted(())
    """Folders that the worker puts at the front of its module path."""
    legacy: Mapping[str, Any] = _uncounted({})
    """Values that are left out of the identity, by dotted key: parameters and tables that were added later."""
    epochs_key: str = _uncounted("")
    """The dotted key of the configuration that says how many epochs a training has; empty where none does."""
    loader_workers: int = _uncounted(0)
    """Processes that read examples for the training; 0 reads them where it trains."""
    schema: int = _uncounted(SCHEMA)

    @cached_property
    def id(self) -> str:
        """The run's identity, ``r2-`` and 16 hexadecimal digits."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.metadata.get("counts", True)}
        named = {key: value for key, value in named.items() if value != {} or key == "config"}
        return "r2-" + digest({**named, "config": self.counted})

    @cached_property
    def counted(self) -> dict[str, Any]:
        """The configuration without empty tables and without what stands at its legacy value."""
        return _counted(self.config, self.legacy)

    @property
    def epochs(self) -> int | None:
        """How many epochs the training asks for, None where the configuration does not say."""
        found: Any = self.config
        for key in self.epochs_key.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def metric_name(self) -> str:
        """The key of the primary metric in results."""
        return metric_key(self.metric)

    def gain(self, value: float) -> float:
        """Return a value of the primary metric turned so that higher is better."""
        return value if self.direction == "maximize" else -value

    def table(self, kind: str) -> dict[str, Any]:
        """Return one table of the configuration with this machine's local_paths put back."""
        prefix = kind + "."
        local_paths = {
            key.removeprefix(prefix): path for key, path in self.local_paths.items() if key.startswith(prefix)
        }
        return {**self.config[kind], **local_paths}

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Every table of the configuration, with this machine's local_paths put back."""
        return {kind: self.table(kind) for kind in self.config}


def _counted(table: Mapping[str, Any], legacy: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if name in legacy and _same(value, legacy[name]):
            continue
        if isinstance(value, Mapping):
            if below := _counted(value, legacy, name + "."):
                kept[key] = below
        else:
            kept[key] = value
    return kept


def _same(value: Any, other: Any) -> bool:
    """Whether two values are equal, true and 1 told apart."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def metric_key(metric: Mapping[str, Any]) -> str:
    """Return the name of a metric's values: its own, followed by its parameters where they are given."""
    rest = ", ".join(f"{key}={value}" for key, value in metric.items() if key != "name")
    return f"{metric['name']}({rest})" if rest else str(metric["name"])


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


LARGEST_DISAGREEMENT = 0.05
"""Between two counters of operations, beyond which one of them must be wrong."""


@dataclass(frozen=True)
class PartCost:
    """What one part of a network costs, for one example."""

    name: str
    parameters: int
    """Trainable values."""
    macs: int


@dataclass(frozen=True)
class Profile:
    """What a network costs, for one example."""

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
    """What one example of a training batch has kept for the backward pass."""
    parts: tuple[PartCost, ...] = ()
    """The network's own modules, in their order."""
    latency_ms: float | None = None
    """Median time of one forward pass, where the training measured it."""
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


@dataclass(frozen=True)
class SplitSizes:
    """Examples in the splits of one fold."""

    train: int
    validation: int
    test: int
    trained: int | None = None
    """Examples that a repetition's final training sees; `train` where it is None."""


@dataclass(frozen=True)
class PublishedResult:
    """What somebody else printed of one method; None or empty where that was not verified."""

    method: str
    figures: Mapping[str, float]
    """By metric, scaled as reports print it."""
    backbone: str
    modality: str
    sources: str
    """Letters of `PublishedTable.sources`."""
    protocol: str
    year: int | None = None
    params: float | None = None
    """In millions."""
    gmacs: float | None = None
    pretraining: str = ""
    note: str = ""


@dataclass(frozen=True)
class PublishedFolds:
    """What somebody else printed of single folds."""

    method: str
    figures: tuple[float, ...]
    """Fold by fold, scaled as reports print them."""


@dataclass(frozen=True)
class PublishedTable:
    """Published results on a study's benchmark, for reference: no figure or verdict knows of them."""

    title: str
    """The benchmark's name."""
    examples: int
    """In the whole benchmark, by its official lists."""
    examples_here: int
    """In the splits of this study."""
    metrics: tuple[str, ...]
    """Labels of the columns, as keys of `PublishedResult.figures`."""
    fold_metric: str
    """The label of the figures in `folds`."""
    results: tuple[PublishedResult, ...]
    folds: tuple[PublishedFolds, ...]
    sources: Mapping[str, str]
    """What the letters stand for."""
    remark: str = ""
    """Whole sentences on how far the rows can be compared with each other."""


@dataclass(frozen=True)
class DataInfo:
    """What a study's record and report say of the data that its runs use."""

    name: str
    digest: str
    """Changes with anything that changes an example, a label or a split; empty where the data are not tracked."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The digest of each fold's data, by fold number."""
    folds: tuple[int, ...] = ()
    """Empty where there is one split."""
    fold_key: str = ""
    """The dotted key that lists the folds; the run of one fold lists that one alone."""
    description: str = ""
    """One example in words, such as its size."""
    sizes: tuple[SplitSizes, ...] = ()
    """One entry a fold, or one; empty where they are not known."""
    noun: str = "example"
    """What one example is called."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """What guessing scores, by metric, in the metric's own unit."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else a reader must know of the data, by its name, in the order to print."""
    warnings: tuple[str, ...] = ()
    """Whole sentences that limit every conclusion from these data."""
    is_optimistic: bool = False
    """Whether epochs and hyperparameters are chosen on the test split, so that no verdict can rest on it."""
    skipped: tuple[str, ...] = ()
    """What was left out because it could not be read, file and reason, where the study asked for that."""
    published: PublishedTable | None = None


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
        InputError: The record was written by a newer version or before the first release, or is not such a record.
    """
    try:
        data = json.loads(text)
        schema = data.get("schema", SCHEMA)
        if schema > SCHEMA:
            raise InputError(
                f"{where}: written with schema {schema}, this version reads up to {SCHEMA}; upgrade study."
            )
        if schema < OLDEST_SCHEMA:
            raise InputError(
                f"{where}: this ledger was written before the first release and cannot be read. Move its folder aside, "
                "or name another one with 'ledger' in study.toml; the study then starts anew."
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
