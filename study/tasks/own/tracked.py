"""A configuration that notes which of its keys a training reads."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any


class Tracked(dict[str, Any]):
    """A dict of a configuration's values; reading one notes its dotted key in `read`.

    Iterating over a table, or copying it, reads all that is in it. What a training writes to it stays its own.
    """

    def __init__(self, table: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        super().__init__()
        self._read = read
        self._prefix = prefix
        for key, value in table.items():
            below = Tracked(value, read, f"{prefix}{key}.") if isinstance(value, Mapping) else _copied(value)
            super().__setitem__(key, below)

    def __getitem__(self, key: str) -> Any:
        self._read.add(self._prefix + key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, and note its key."""
        self._read.add(self._prefix + key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove and return a value, and note its key."""
        self._read.add(self._prefix + key)
        return super().pop(key, *default)

    def __iter__(self) -> Iterator[str]:  # with it, dict(table) and **table come to __getitem__
        return super().__iter__()

    def items(self) -> Any:
        """Return the items, and note every key."""
        self._read |= {self._prefix + key for key in super().__iter__()}
        return super().items()

    def values(self) -> Any:
        """Return the values, and note every key."""
        self._read |= {self._prefix + key for key in super().__iter__()}
        return super().values()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Return how to pickle it as a dict that needs nothing of the harness, and that torch.load accepts."""
        return OrderedDict, (), None, None, iter(self.plain().items())

    def copy(self) -> dict[str, Any]:
        """Return a plain copy, and note every key."""
        return self.plain()

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return self.plain()

    __copy__ = copy

    def plain(self) -> dict[str, Any]:
        """Return a plain copy, and note every key."""
        return {
            key: value.plain() if isinstance(value, Tracked) else _copied(value)
            for key, value in self.items()
        }


def represent_in_yaml() -> None:
    """Let PyYAML, where it is imported, write a configuration as the dict that it is."""
    if (yaml := sys.modules.get("yaml")) is not None:
        for writers in (yaml.representer.SafeRepresenter, yaml.representer.Representer):
            writers.add_representer(Tracked, lambda writer, table: writer.represent_dict(table.plain()))


def _copied(value: Any) -> Any:
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value
