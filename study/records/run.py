"""`RunSpec`: the record of one training before it starts, and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from study.hashing import digest
from study.metrics import Direction
from study.nested import value_at
from study.records.serialization import SCHEMA


def _uncounted(default: Any) -> Any:
    """Return a field of a `RunSpec` that changes no number and is left out of its identity."""
    if isinstance(default, Mapping):
        return field(default_factory=dict, metadata={"counts": False})
    return field(default=default, metadata={"counts": False})


@dataclass(frozen=True)
class RunSpec:
    """One training: everything that can change its numbers, and the paths of its data on this machine."""

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
    """The primary metric, which compares epochs: its name and its parameters."""
    direction: Direction = "maximize"
    counts: Mapping[str, Any] = field(default_factory=dict)
    """What the task adds to the identity, such as the version of its training loop."""
    options: Mapping[str, Any] = _uncounted({})
    """The study's ``[task]`` table; the part that counts in the identity is in `counts`."""
    local_paths: Mapping[str, str] = _uncounted({})
    """Folders and files on this machine, as ``{"dataset.root": …}``; they change no number.

    A file whose content counts is ``PATH#DIGEST``; the digest alone is in the configuration.
    """
    modules: tuple[str, ...] = _uncounted(())
    """The user's component modules, for the worker's registry; their code is in `code_digest`."""
    import_paths: tuple[str, ...] = _uncounted(())
    """Folders that the worker adds at the front of its module path."""
    legacy: Mapping[str, Any] = _uncounted({})
    """Legacy defaults by dotted key: parameters and tables added later are left out of the identity at these values."""
    epochs_key: str = _uncounted("")
    """The dotted key of the configuration that holds the number of epochs; empty where none does."""
    loader_workers: int = _uncounted(0)
    """Processes of the data loader; 0 loads in the training process."""
    schema: int = _uncounted(SCHEMA)

    @cached_property
    def id(self) -> str:
        """The run's identity, ``r2-`` and 16 hexadecimal digits."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.metadata.get("counts", True)}
        named = {key: value for key, value in named.items() if value != {} or key == "config"}
        return "r2-" + digest({**named, "config": self.counted})

    @cached_property
    def counted(self) -> dict[str, Any]:
        """The configuration without empty tables and without values at their legacy default."""
        return _without_legacy(self.config, self.legacy)

    @property
    def epochs(self) -> int | None:
        """The number of epochs; None where the configuration does not hold it."""
        number = value_at(self.config, self.epochs_key)
        return number if isinstance(number, int) and not isinstance(number, bool) else None

    @property
    def metric_name(self) -> str:
        """The key of the primary metric in results."""
        return metric_key(self.metric)

    def gain(self, value: float) -> float:
        """Return a value of the primary metric with its sign changed where lower is better."""
        return value if self.direction == "maximize" else -value

    def table(self, kind: str) -> dict[str, Any]:
        """Return one table of the configuration with this machine's paths added."""
        prefix = kind + "."
        local_paths = {
            key.removeprefix(prefix): path for key, path in self.local_paths.items() if key.startswith(prefix)
        }
        return {**self.config[kind], **local_paths}

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Every table of the configuration, with this machine's paths added."""
        return {kind: self.table(kind) for kind in self.config}


def _without_legacy(table: Mapping[str, Any], legacy: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables without values at their legacy default and without empty tables."""
    counted: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if name in legacy and _is_equal(value, legacy[name]):
            continue
        if isinstance(value, Mapping):
            if below := _without_legacy(value, legacy, name + "."):
                counted[key] = below
        else:
            counted[key] = value
    return counted


def _is_equal(value: Any, other: Any) -> bool:
    """Return whether two values are equal; true and 1 are different."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def metric_key(metric: Mapping[str, Any]) -> str:
    """Return the key of a metric's values in results: its name, then its parameters in parentheses."""
    parameters = ", ".join(f"{key}={value}" for key, value in metric.items() if key != "name")
    return f"{metric['name']}({parameters})" if parameters else str(metric["name"])
