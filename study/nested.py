"""Nested tables, addressed by dotted keys such as ``train.lr``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

IsValue = Callable[[str, Mapping[str, Any]], bool]


def _no_value(key: str, table: Mapping[str, Any]) -> bool:
    return False


def walk(
    table: Mapping[str, Any], is_value: IsValue = _no_value, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield every dotted key with its value, those of tables themselves included.

    Args:
        table: Nested tables.
        is_value: Takes the dotted key of a table and the table; whether that is a value, not entered.
        prefix: Put before every key.
    """
    for name, value in table.items():
        key = prefix + name
        yield key, value
        if isinstance(value, Mapping) and not is_value(key, value):
            yield from walk(value, is_value, key + ".")


def flatten(table: Mapping[str, Any], is_value: IsValue = _no_value) -> dict[str, Any]:
    """Return the values of nested tables by dotted key; an empty table is a value."""
    return {
        key: value
        for key, value in walk(table, is_value)
        if not isinstance(value, Mapping) or not value or is_value(key, value)
    }


def value_at(table: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key; None where there is none."""
    value: Any = table
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def with_value(table: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return nested tables with a value at a dotted key; tables that do not change are shared."""
    first, _, rest = key.partition(".")
    below = table.get(first)
    inner = with_value(below if isinstance(below, Mapping) else {}, rest, value) if rest else value
    return {**table, first: inner}
