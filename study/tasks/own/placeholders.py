"""Arguments of a command with placeholders: which keys they name, and what they become for one configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.errors import InputError, nearest, quoted
from study.nested import value_at

GIVEN = ("seed", "fold", "folder", "checkpoint", "weights", "config")
"""Placeholders that the harness fills in; no configuration may have keys of these names."""
_KEY = r"[A-Za-z_][\w-]*(?:\.[\w-]+)*"
_SWITCH = re.compile(r"\{(?P<text>[^{}?]+)\?(?P<key>" + _KEY + r")\}")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(?P<key>" + _KEY + r")\}")


def keys_in(arguments: Iterable[str]) -> list[str]:
    """Return the keys that arguments name, in their order."""
    found: list[str] = []
    for argument in arguments:
        if switch := _SWITCH.fullmatch(argument):
            found.append(switch["key"])
        else:
            found += [match["key"] for match in _PLACEHOLDER.finditer(argument) if match["key"]]
    return list(dict.fromkeys(found))


def expanded(
    arguments: Sequence[str], config: Mapping[str, Any], given: Mapping[str, Any], key: str
) -> list[str]:
    """Return arguments with every placeholder filled in.

    ``{key}`` becomes the value: tables as JSON, booleans as ``true`` and ``false``. ``{--flag?key}`` is there where
    the key is true. A list repeats its argument, with the option before it; where a key is absent or None, its
    argument is left out with the option before it. ``{{`` and ``}}`` are plain braces.

    Args:
        arguments: The command as the study file gives it.
        config: The configuration, as nested tables.
        given: Values of `GIVEN`; None where there is none, such as a fold.
        key: The key of the command, for messages.

    Raises:
        InputError: The key of a switch is neither true nor false.
    """
    found: list[str] = []
    option: list[str] = []
    """An argument that goes with the next one where that has a placeholder."""
    for argument in arguments:
        switch = _SWITCH.fullmatch(argument)
        names = [match["key"] for match in _PLACEHOLDER.finditer(argument) if match["key"]]
        if names and switch is None:
            values = [(name, _value(name, config, given)) for name in names]
            found += [part for filled in _filled(argument, values) for part in (*option, filled)]
            option = []
            continue
        found += option
        option = []
        if switch is not None:
            found += (
                [switch["text"]] if _is_on(_value(switch["key"], config, given), switch["key"], key) else []
            )
        elif argument.startswith("-") and argument != "--" and "=" not in argument:
            option = [_substituted(argument, {})]
        else:
            found.append(_substituted(argument, {}))
    return found + option


def _filled(argument: str, values: Sequence[tuple[str, Any]]) -> list[str]:
    """Return one argument for each value of a list, none where a value is absent."""
    if any(value is None for _, value in values):
        return []
    if len(values) == 1 and isinstance(values[0][1], list | tuple):
        return [_substituted(argument, {values[0][0]: value}) for value in values[0][1]]
    return [_substituted(argument, dict(values))]


def _substituted(argument: str, values: Mapping[str, Any]) -> str:
    def text(match: re.Match[str]) -> str:
        return _text(values[match["key"]]) if match["key"] else match[0][0]

    return _PLACEHOLDER.sub(text, argument)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _value(name: str, config: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    return given[name] if name in given else value_at(config, name)


def _is_on(value: Any, name: str, key: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise InputError(
            f"{key}: {name!r} switches an argument, so it must be true or false. Got {value!r} instead."
        )
    return bool(value)


def check_placeholders(
    arguments: Mapping[str, Sequence[str]], keys: Iterable[str], leaves: Iterable[str], reads_config: bool
) -> None:
    """Check that every placeholder names a key, and that every key is named, by itself or by a table that holds it.

    Args:
        arguments: Commands by the key that gives them, such as ``task.command``.
        keys: Dotted keys of every configuration of the study, those of tables included.
        leaves: Dotted keys of values.
        reads_config: Whether the command reads the file of the whole configuration.

    Raises:
        InputError: Some placeholder or key that does not fit, with the nearest name.
    """
    keys, leaves = sorted(set(keys)), sorted(set(leaves))
    if taken := [key for key in keys if key in GIVEN]:
        raise InputError(
            f"{taken[0]}: the harness itself fills in {{{taken[0]}}}; give this key of the configuration another name."
        )
    named: set[str] = set()
    for where, command in arguments.items():
        for key in keys_in(command):
            if key not in keys and key not in GIVEN:
                allowed = [*keys, *GIVEN]
                raise InputError(
                    f"{where}: the placeholder {{{key}}} names no key.{nearest(key, allowed)} "
                    f"Allowed: {quoted(allowed)}."
                )
            named.add(key)
    if reads_config or "config" in named:
        return
    for key in leaves:
        parts = key.split(".")
        if not any(".".join(parts[:length]) in named for length in range(1, len(parts) + 1)):
            where = next(iter(arguments))
            raise InputError(
                f"{key}: no placeholder of {where} uses this key, so it would change nothing.{nearest(key, named)} "
                f"Add {{{key}}} to the command, or set task.reads_config = true where the program reads $STUDY_CONFIG."
            )
