"""Levels of factors as a study file names them, by value or by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from study.config.study import Level
from study.errors import quoted, shown, unknown_name
from study.hashing import canonical_json
from study.nested import flatten

Cell = dict[str, Level]
"""A level for each factor."""
Factors = Mapping[str, tuple[Level, ...]]


def by_factor(levels: Mapping[str, Any], factors: Iterable[str]) -> dict[str, Any]:
    """Return levels by factor, whether TOML wrote ``"train.lr"`` or ``train.lr``."""

    def is_level(key: str, table: Mapping[str, Any]) -> bool:
        return key in factors or not any(factor.startswith(key + ".") for factor in factors)

    return flatten(levels, is_level)


def level_of(value: Any, levels: tuple[Level, ...]) -> Level | None:
    """Return the level that has a value, or a label; None where there is none."""
    matching = [level for level in levels if canonical_json(level.value) == canonical_json(value)]
    if isinstance(value, str):
        matching += [level for level in levels if level.label == value]
    return matching[0] if matching else None


def require_level(value: Any, levels: tuple[Level, ...], where: str) -> Level:
    """Return the level that has a value, or a label; raise InputError where there is none."""
    level = level_of(value, levels)
    if level is None:
        names = [level.text for level in levels]
        text = f"must be one of the factor's levels, {quoted(names)}. Got {shown(value)} instead"
        raise unknown_name(where, text, Level(value).text, names, "")
    return level


def require_levels(given: Mapping[str, Any], factors: Factors, where: str) -> Cell:
    """Return the levels that a table names, by factor; raise InputError where a factor or a level does not exist."""
    levels = {}
    for factor, value in by_factor(given, factors).items():
        check_factor(factor, factors, where)
        levels[factor] = require_level(value, factors[factor], f"{where}.{factor}")
    return levels


def check_factor(factor: str, factors: Iterable[str], where: str) -> None:
    """Raise InputError where a name is no factor."""
    if factor not in factors:
        raise unknown_name(where, f"{factor!r} is no factor of this study", factor, factors)


def level_name(factor: str, level: Level, is_only_factor: bool = False) -> str:
    """Return a level's label, or its value, with the factor's name where the value is ambiguous without it."""
    if level.label:
        return level.label
    is_unambiguous = is_only_factor and isinstance(level.value, str | Mapping)
    return level.text if is_unambiguous else f"{factor}={level.text}"


def cell_name(cell: Cell, reference: Cell, stratum: Cell) -> str:
    """Return a cell's name: its only level, or its changes to the reference, then its stratum."""
    if len(cell) == 1:
        own = level_name(*next(iter(cell.items())), is_only_factor=True)
    else:
        changes = [level_name(factor, level) for factor, level in cell.items() if level != reference[factor]]
        own = ", ".join(changes) or "reference"
    return ", ".join([own, *(level_name(factor, level) for factor, level in stratum.items())])
