"""`Options`: the keys of ``[task]`` that the tasks `function` and `command` share, and the metrics declared there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from study import seeds
from study.config.registry import Internal, Range
from study.config.tables import fill
from study.errors import conflict, missing_value, shown, unknown_name, wrong_value
from study.generators import seeded
from study.hashing import seed_of
from study.metrics import Metric
from study.tasks.own.references import Reference

PERCENT = "%"
BOUNDS = {"threads": (1, 4096), "gpus": (0, 1024), "timeout_s": (0, 10**8)}
"""The least and the largest value of options of `[task]`."""
LARGEST = 1e100
"""The largest magnitude of a metric's scale, bounds and chance: differences and variances of values are finite."""
RESERVED = ("epoch", "test")
"""Keys of a line of metrics.jsonl that are no metrics."""
_METRIC_NAME = re.compile(r"[A-Za-z_][\w.@/-]*")
_LOWER_IS_BETTER = re.compile(
    r"(^|[^a-z])(loss|err|error|perplexity|ppl|nll|mae|mse|rmse|wer|cer|fid)([^a-z]|$)", re.I
)


@dataclass(frozen=True)
class Options:
    """Keys of ``[task]`` of a user's own training, other than its function or command."""

    metric: Annotated[
        str | dict[str, str | float] | None,
        "the metric: a name, or a table with name, label, direction, unit, scale, low, high, chance, compute",
    ] = None
    metrics: Annotated[
        list[str | dict[str, str | float]], "several metrics, each as in metric; the first is primary"
    ] = field(default_factory=list)
    select: Annotated[Literal["best", "last"], "which epoch judges a training and is tested"] = "last"
    data: Annotated[list[str], "files that the data consist of, as patterns; their content counts"] = field(
        default_factory=list
    )
    data_version: Annotated[str, "counts in place of the content of data files"] = ""
    sources: Annotated[list[str], "files of code that count besides what is followed, as patterns"] = field(
        default_factory=list
    )
    version: Annotated[int | None, "counts in place of the text of the code"] = None
    legacy: Annotated[
        dict[str, bool | int | float | str], "values at which keys that were added later are left out"
    ] = field(default_factory=dict)
    resume: Annotated[bool, "whether a killed training goes on from its checkpoint"] = False
    timeout_s: Annotated[float, Range(0), "seconds that a run may take; 0 for no limit"] = 0.0
    gpus: Annotated[int, Range(0), "GPUs of a run"] = 1
    threads: Annotated[int, Range(1), "processor threads of a run"] = 1
    in_trials: Annotated[
        dict[str, bool | int | float | str],
        "values that trials of a search have in place of the study's; one more training follows each",
    ] = field(default_factory=dict)
    env: Annotated[dict[str, str], "environment variables of a run; they count"] = field(default_factory=dict)
    cwd: Annotated[str, "folder that a run works in, relative to that of study.toml"] = ""
    prepare: Annotated[
        str | list[str] | None, "what runs once before the study: a command as a list, or module:function"
    ] = None
    folds: Annotated[list[int], "folds to train and test on"] = field(default_factory=list)
    epochs: Annotated[str, "the dotted key that says how many epochs a training has"] = "epochs"
    root: Annotated[str, Internal(), "the folder of study.toml"] = ""
    export: Annotated[str, Internal(), "the exported revision that the code runs from"] = ""
    outputs: Annotated[list[str], Internal(), "folders that the harness writes, which are no code"] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        for name in ("metrics", "data", "sources", "folds", "outputs"):
            if not isinstance(getattr(self, name), list | tuple):
                raise wrong_value(f"task.{name}", "must be a list.", getattr(self, name))
        for name in ("env", "legacy", "in_trials"):
            if not isinstance(getattr(self, name), Mapping):
                raise wrong_value(f"task.{name}", "must be a table.", getattr(self, name))
        for name, value in self.env.items():
            if not isinstance(value, str):
                raise wrong_value(f"task.env.{name}", "must be a string.", value)
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise wrong_value("task.env", f"{name!r} cannot be the name of an environment variable.")
        if self.select not in ("best", "last"):
            raise unknown_name(
                "task.select",
                f"must be 'best' or 'last'. Got {shown(self.select)} instead",
                str(self.select),
                ("best", "last"),
                "",
            )
        if self.data and self.data_version:
            raise conflict("task.data_version", "counts in place of task.data; give one of the two.")
        if len(set(self.folds)) < len(self.folds) or not all(type(fold) is int for fold in self.folds):
            raise wrong_value("task.folds", "must be different whole numbers.", self.folds)
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= low:
                raise wrong_value(f"task.{name}", f"must be at least {low}.", value)
            if value > high:
                raise wrong_value(f"task.{name}", f"must be at most {high}.", value)
        if not self.folder.is_dir():
            raise wrong_value("task.cwd", f"{self.folder} is no folder. It is relative to {self.code}.")

    @property
    def root_folder(self) -> Path:
        """The folder of study.toml, which the user's paths are relative to."""
        return Path(self.root or ".").absolute()

    @property
    def code(self) -> Path:
        """The folder of the code: an exported revision, or the user's own."""
        return Path(self.export).absolute() if self.export else self.root_folder

    @property
    def folder(self) -> Path:
        """The working folder of a command."""
        return self.code / self.cwd


@dataclass(frozen=True)
class _MetricKeys:
    """The keys of a metric's table."""

    name: Annotated[str, "the key under which values are reported"]
    label: str = ""
    direction: Literal["maximize", "minimize"] = "maximize"
    unit: str = PERCENT
    scale: float = 100.0
    low: float | Literal["none"] = 0.0
    high: float | Literal["none"] = 1.0
    chance: float | None = None
    compute: str = ""


def metrics_of(options: Options) -> dict[str, Metric]:
    """Return the declared metrics by name, the primary one first.

    A metric with neither a unit nor ``direction = "minimize"`` is a share of 1, printed in per cent.

    Raises:
        InputError: No metric, a metric declared twice, or a wrong key or value.
    """
    if options.metric is not None and options.metrics:
        raise conflict("task.metrics", "task.metric is given too; give one of the two.")
    if options.metric is None and not options.metrics:
        raise missing_value(
            "task.metric",
            "is missing. It must be a name that run.report gets, such as "
            '"acc", or a table such as { name = "loss", direction = "minimize" }.',
        )
    keyed = (
        [(f"task.metrics[{index}]", given) for index, given in enumerate(options.metrics)]
        if options.metrics
        else [("task.metric", options.metric)]
    )
    metrics: dict[str, Metric] = {}
    for key, given in keyed:
        metric = metric_of(given, key, options.code)
        if metric.name in metrics:
            raise conflict(f"{key}.name", f"{metric.name!r} is declared twice.")
        metrics[metric.name] = metric
    return metrics


def metric_of(given: Any, key: str, root: Path) -> Metric:
    """Return a metric from its name or table; raise InputError for a wrong key or value."""
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping):
        raise wrong_value(key, "must be a name or a table with 'name'.", given)
    declared = fill(_MetricKeys, table, key)
    if not _METRIC_NAME.fullmatch(declared.name) or declared.name in RESERVED:
        raise wrong_value(
            f"{key}.name",
            f"must be a name such as 'acc', and neither 'epoch' nor 'test'. Got {shown(declared.name)} "
            "instead.",
        )
    if "direction" not in table and _LOWER_IS_BETTER.search(declared.name.replace("_", "-")):
        raise missing_value(
            f"{key}.direction",
            f"is missing, and {declared.name!r} sounds as if lower were better. "
            'Allowed: direction = "minimize" or direction = "maximize".',
        )
    unit = declared.unit if "unit" in table or declared.direction == "maximize" else ""
    is_share = unit == PERCENT
    scale = declared.scale if "scale" in table or is_share else 1.0
    low = _bound(declared.low if "low" in table or is_share else "none")
    high = _bound(declared.high if "high" in table else 100.0 / scale if is_share and scale > 0 else "none")
    if not scale > 0:
        raise wrong_value(f"{key}.scale", "must be above 0.", scale)
    for name, value in (("scale", scale), ("1/scale", 1 / scale), ("low", low), ("high", high)):
        if value is not None and not abs(value) <= LARGEST:
            raise wrong_value(
                f"{key}.{name}", f"must be at most {LARGEST:g} in magnitude. Got {value:g} instead."
            )
    chance = declared.chance
    if chance is not None and not (-LARGEST if low is None else low) <= chance <= (
        LARGEST if high is None else high
    ):
        raise wrong_value(f"{key}.chance", f"must be a possible value of the metric. Got {chance:g} instead.")
    if low is not None and high is not None and not low < high:
        raise wrong_value(f"{key}.low", f"must be below high = {high:g}. Got {low:g} instead.")
    compute = (
        Compute(Reference(declared.compute, f"{key}.compute", root, ("labels", "scores")))
        if declared.compute
        else None
    )
    return Metric(
        name=declared.name,
        label=declared.label,
        unit=unit,
        scale=scale,
        direction=declared.direction,
        low=low,
        high=high,
        chance=declared.chance,
        compute=compute,
    )


def _bound(given: float | str) -> float | None:
    return None if given == "none" else float(given)


@dataclass(frozen=True)
class Compute:
    """A metric's function, whose module is imported at the first call."""

    reference: Reference

    def __call__(self, labels: Any, scores: Any) -> float:
        """Return the metric's value for labels (n,) and scores (n,) or (n, K)."""
        function = self.reference.load()
        with seeded(seed_of(seeds.METRIC)):
            return float(function(labels, scores))
