"""`Tracked`: a configuration that records which of its keys a training reads."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any


class Tracked(dict[str, Any]):
    """A dict of a configuration's values that adds the dotted key of each value read to the set `read`.

    Iterating over a table, or copying it, reads all its values. The training may change it.
    """

    def __init__(self, table: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        super().__init__()
        self._read = read
        self._prefix = prefix
        for key, value in table.items():
            item = (
                Tracked(value, read, f"{prefix}{key}.") if isinstance(value, Mapping) else _copy_lists(value)
            )
            super().__setitem__(key, item)

    def __getitem__(self, key: str) -> Any:
        self._read.add(self._prefix + key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, and record its key."""
        self._read.add(self._prefix + key)
        return super().get(key, default)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove and return a value, and record its key."""
        self._read.add(self._prefix + key)
        return super().pop(key, *default)

    def __iter__(self) -> Iterator[str]:  # makes dict(table) and **table call __getitem__
        return super().__iter__()

    def items(self) -> Any:
        """Return the items, and record every key."""
        self._read |= {self._prefix + key for key in super().__iter__()}
        return super().items()

    def values(self) -> Any:
        """Return the values, and record every key."""
        self._read |= {self._prefix + key for key in super().__iter__()}
        return super().values()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Return a recipe to pickle it as a standard dict, which torch.load accepts without the harness."""
        return OrderedDict, (), None, None, iter(self.as_dict().items())

    def copy(self) -> dict[str, Any]:
        """Return a copy as standard dicts, and record every key."""
        return self.as_dict()

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return self.as_dict()

    __copy__ = copy

    def as_dict(self) -> dict[str, Any]:
        """Return a copy as standard dicts, and record every key."""
        return {
            key: value.as_dict() if isinstance(value, Tracked) else _copy_lists(value)
            for key, value in self.items()
        }


def represent_in_yaml() -> None:
    """Register `Tracked` with PyYAML, where that is imported, to be written as a dict."""
    if (yaml := sys.modules.get("yaml")) is not None:
        for representer in (yaml.representer.SafeRepresenter, yaml.representer.Representer):
            representer.add_representer(Tracked, lambda dumper, table: dumper.represent_dict(table.as_dict()))


def _copy_lists(value: Any) -> Any:
    """Return a value with its lists and tuples copied to new lists."""
    return [_copy_lists(item) for item in value] if isinstance(value, list | tuple) else value
