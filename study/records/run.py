"""The record of one training: its configuration, seed and data, and the identity that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from study.hashing import digest
from study.metrics import Direction
from study.records.serialization import SCHEMA


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
