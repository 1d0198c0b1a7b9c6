"""Placeholders in the arguments of a command: the keys that they name, and their expansion for a configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.errors import conflict, unknown_name, wrong_value
from study.nested import value_at

RUN_VALUES = ("seed", "fold", "folder", "checkpoint", "weights", "config")
"""Placeholders for values of the run; no configuration may have keys of these names."""
_KEY = r"[A-Za-z_][\w-]*(?:\.[\w-]+)*"
_SWITCH = re.compile(r"\{(?P<text>[^{}?]+)\?(?P<key>" + _KEY + r")\}")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(?P<key>" + _KEY + r")\}")


def keys_in(arguments: Iterable[str]) -> list[str]:
    """Return the keys that arguments name, in their order."""
    keys: list[str] = []
    for argument in arguments:
        if switch := _SWITCH.fullmatch(argument):
            keys.append(switch["key"])
        else:
            keys += [match["key"] for match in _PLACEHOLDER.finditer(argument) if match["key"]]
    return list(dict.fromkeys(keys))


def expand(
    arguments: Sequence[str], config: Mapping[str, Any], run_values: Mapping[str, Any], key: str
) -> list[str]:
    """Return arguments with every placeholder replaced.

    ``{key}`` becomes the value: tables as JSON, booleans as ``true`` and ``false``. ``{--flag?key}`` becomes
    ``--flag`` where the key is true, else nothing. A list repeats its argument, with the option before it; where a
    key is absent or None, its argument and the option before it are left out. ``{{`` and ``}}`` are literal braces.

    Args:
        arguments: The command in the study file.
        config: The configuration, as nested tables.
        run_values: Values of `RUN_VALUES`; None where there is none, such as a fold.
        key: The key of the command, for messages.

    Raises:
        InputError: The key of a switch is neither true nor false.
    """
    expanded: list[str] = []
    option: list[str] = []
    """An option, held back until it is known whether the next argument is left out or repeated."""
    for argument in arguments:
        switch = _SWITCH.fullmatch(argument)
        names = [match["key"] for match in _PLACEHOLDER.finditer(argument) if match["key"]]
        if names and switch is None:
            values = [(name, _value(name, config, run_values)) for name in names]
            expanded += [part for text in _repeat(argument, values) for part in (*option, text)]
            option = []
            continue
        expanded += option
        option = []
        if switch is not None:
            value = _value(switch["key"], config, run_values)
            expanded += [switch["text"]] if _as_switch(value, switch["key"], key) else []
        elif argument.startswith("-") and argument != "--" and "=" not in argument:
            option = [_substitute(argument, {})]
        else:
            expanded.append(_substitute(argument, {}))
    return expanded + option


def _repeat(argument: str, values: Sequence[tuple[str, Any]]) -> list[str]:
    """Return one argument for each value of a list; none where a value is absent."""
    if any(value is None for _, value in values):
        return []
    if len(values) == 1 and isinstance(values[0][1], list | tuple):
        return [_substitute(argument, {values[0][0]: value}) for value in values[0][1]]
    return [_substitute(argument, dict(values))]


def _substitute(argument: str, values: Mapping[str, Any]) -> str:
    """Return an argument with its placeholders replaced by `values`."""

    def replacement(match: re.Match[str]) -> str:
        return _text(values[match["key"]]) if match["key"] else match[0][0]

    return _PLACEHOLDER.sub(replacement, argument)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _value(name: str, config: Mapping[str, Any], run_values: Mapping[str, Any]) -> Any:
    return run_values[name] if name in run_values else value_at(config, name)


def _as_switch(value: Any, name: str, key: str) -> bool:
    """Return the value of a switch's key; raise InputError where it is neither true, false nor absent."""
    if value is not None and not isinstance(value, bool):
        raise wrong_value(key, f"{name!r} switches an argument, so it must be true or false.", value)
    return bool(value)


def check_placeholders(
    arguments: Mapping[str, Sequence[str]], keys: Iterable[str], leaves: Iterable[str], reads_config: bool
) -> None:
    """Check that every placeholder is a key, and that every key has a placeholder, or a table that holds it has.

    Args:
        arguments: Commands by their key in the study file, such as ``task.command``.
        keys: Dotted keys of every configuration of the study, those of tables included.
        leaves: Dotted keys of values.
        reads_config: Whether the command reads the file of the whole configuration.

    Raises:
        InputError: A placeholder that is no key, or a key without a placeholder; the message has the nearest name.
    """
    keys, leaves = sorted(set(keys)), sorted(set(leaves))
    if reserved := [key for key in keys if key in RUN_VALUES]:
        raise conflict(
            reserved[0], f"{{{reserved[0]}}} is a value of the run; rename this key of the configuration."
        )
    used: set[str] = set()
    for where, command in arguments.items():
        for key in keys_in(command):
            if key not in keys and key not in RUN_VALUES:
                allowed = [*keys, *RUN_VALUES]
                raise unknown_name(where, f"the placeholder {{{key}}} names no key", key, allowed)
            used.add(key)
    if reads_config or "config" in used:
        return
    for key in leaves:
        parts = key.split(".")
        if not any(".".join(parts[:length]) in used for length in range(1, len(parts) + 1)):
            where = next(iter(arguments))
            raise unknown_name(
                key,
                f"no placeholder of {where} uses this key, so it would change nothing",
                key,
                used,
                f"Add {{{key}}} to the command, or set task.reads_config = true where the program "
                "reads $STUDY_CONFIG.",
            )
