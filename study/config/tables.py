"""Read TOML files and ``key=value`` settings, set values in tables, and check tables against dataclasses."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from study.config.located import syntax_line
from study.config.registry import describe, validated
from study.errors import ErrorCode, InputError, Mistake, nearest, quoted, shown, unknown
from study.files import read_regular
from study.names import has_invisible, require_utf8

Table = dict[str, Any]
Schema = TypeVar("Schema")

LARGEST_FILE = 4 * 2**20
"""Bytes of the largest file that is read: TOML is parsed in Python."""
DEEPEST = 32
"""The most tables and lists inside one another."""
MOST_DIGITS = 40
"""The most digits of an integer: Python does not print very long ones."""
LONGEST_KEY = 200


def read_toml(path: Path) -> Table:
    """Return a TOML file as nested tables; raise InputError where it is missing or invalid."""
    try:
        content = read_regular(path)
        if len(content) > LARGEST_FILE:
            raise InputError(
                f"{path}: has {len(content):,} bytes, which is no file of settings; at most {LARGEST_FILE:,} are read."
            )
        table = _parsed(content.decode("utf-8-sig"), str(path))
    except FileNotFoundError:
        near = nearest(path.name, [other.name for other in path.parent.glob("*.toml")])
        raise InputError(f"{path}: no such file.{near}", _missing(path)) from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, not a TOML file.") from None
    except tomllib.TOMLDecodeError as error:
        mistake = Mistake(ErrorCode.SYNTAX, file=str(path), line=syntax_line(error))
        raise InputError(f"{path}: not valid TOML: {error}.", mistake) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid TOML, which is UTF-8: {error}.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{shown(str(path))}: cannot be read: {reason}.") from None
    check_values(table, f"{path}")
    return table


def _missing(path: Path) -> Mistake:
    names = sorted(other.name for other in path.parent.glob("*.toml"))
    return replace(unknown(ErrorCode.MISSING_FILE, "", path.name, names), file=str(path))


def _parsed(text: str, where: str) -> Table:
    """Return TOML as nested tables.

    Raises:
        TOMLDecodeError: It is not TOML.
        InputError: It is nested too deeply, or holds a very long integer.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply; at most {DEEPEST} levels are read.") from None
    except ValueError:  # of int(): more digits than Python converts
        raise InputError(f"{where}: holds an integer of more than {MOST_DIGITS} digits.") from None


def check_values(value: Any, where: str, key: str = "", depth: int = 0) -> None:
    """Raise InputError where TOML holds what no setting can be: dates, nan, inf, NUL, huge integers, deep tables."""
    at = f"{where}: {key}"
    if depth > DEEPEST:
        raise InputError(f"{at}: is nested too deeply; at most {DEEPEST} levels are read.")
    if isinstance(value, Mapping):
        for name, item in value.items():
            below = f"{key}.{name}" if key else name
            if not name or len(below) > LONGEST_KEY or has_invisible(name):
                raise InputError(
                    f"{where}: the key {shown(below)} must be one line of at most {LONGEST_KEY} characters that print."
                )
            check_values(item, where, below, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check_values(item, where, key, depth + 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise InputError(f"{at}: must not hold the character NUL. Got {shown(value)} instead.")
    elif not isinstance(value, bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        got = value if isinstance(value, float) else f"the date or time {value}"
        raise InputError(
            f"{at}: must be a finite number, true, false, text, a list or a table. Got {got} instead."
        )
    elif abs(value) >= 10**MOST_DIGITS and isinstance(value, int):
        raise InputError(f"{at}: must be an integer of at most {MOST_DIGITS} digits.")


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the dotted key and the TOML value of ``key=value`` on the command line; a bare word is a string."""
    require_utf8(text, "--set")
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {shown(text)}: must be key=value, such as train.epochs=3.")
    where = f"--set {shown(key.strip())}"
    names = key.strip().split(".")
    check_values(dict.fromkeys((*names, key.strip()), True), "--set", depth=len(names))
    try:
        parsed = _parsed(f"value = {value}", where)
        if len(parsed) > 1:
            raise InputError(f"{where}: must be one value. Got {shown(value)} instead.")
        return key.strip(), parsed["value"]
    except tomllib.TOMLDecodeError as error:
        if value.strip()[:1] in ("{", "[", '"', "'"):
            raise InputError(f"--set {shown(text)}: the value is not valid TOML: {error}.") from None
        if (meant := _meant(value.strip())) is not None:
            raise InputError(
                f"--set {shown(text)}: write {key.strip()}={meant}, or quotes around a text."
            ) from None
        return key.strip(), value.strip()


def _meant(word: str) -> str | None:
    """Return the TOML value that a word stands for in Python or JSON; None where it is a mere word."""
    if word.lower() in ("true", "false"):
        return word.lower()
    if word.lower() in ("none", "null"):
        return "a value: TOML has none that means nothing"
    try:
        return str(float(word))
    except ValueError:
        return None


def as_setting(key: str, value: Any) -> str:
    """Return ``key=value`` in the form that `parse_setting` reads."""
    return f"{key}={_toml(value)}"


def _toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, Mapping):
        items = ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items())
        return "{" + items + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))  # nan and inf are TOML
    if not isinstance(value, str | bool | int | float):
        raise InputError(
            f"a change must be a number, true, false, text, a list or a table. Got {shown(value)} instead."
        )
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def assign(tree: Table, key: str, value: Any, where: str = "") -> None:
    """Set a value at a dotted key, in place; a component given by name becomes a table where a parent must be one.

    Raises:
        InputError: A parent of the key is a value; `where` names the key in the message.
    """
    *parents, last = key.split(".")
    for parent in parents:
        below = tree.setdefault(parent, {})
        if isinstance(below, str):
            below = tree[parent] = {"name": below}
        elif isinstance(below, Mapping):
            below = tree[parent] = dict(below)
        else:
            raise InputError(f"{where or key}: {parent!r} is a value, not a table.")
        tree = below
    if not parents and isinstance(value, Mapping) and isinstance(tree.get(last), Mapping):
        tree[last] = {**tree[last], **value}
    else:
        tree[last] = value


def fill(schema: type[Schema], given: Any, where: str) -> Schema:
    """Return an instance of the dataclass `schema` from a table, each value checked against its field's annotation.

    Raises:
        InputError: An unknown key, a missing one, a wrong type or a value out of range.
    """
    if not isinstance(given, Mapping):
        raise InputError(
            f"{where}: must be a table. Got {shown(given)} instead.",
            Mistake(ErrorCode.WRONG_VALUE, where, given, "a table"),
        )
    before = f"{where} " if where.endswith(":") else f"{where}."
    fields = {field.name: field for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
    hints = get_type_hints(schema, include_extras=True)
    for key in given:
        if key not in fields:
            raise InputError(
                f"{before}{key}: unknown key.{nearest(key, fields)} Allowed: {quoted(fields)}.",
                unknown(ErrorCode.UNKNOWN_KEY, f"{before}{key}", key, fields),
            )
    for name, field in fields.items():
        if name not in given and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(
                f"{before}{name}: is missing. It must be {describe(hints[name])}.",
                Mistake(ErrorCode.MISSING_KEY, f"{before}{name}", allowed=describe(hints[name])),
            )
    return schema(**{key: validated(hints[key], value, f"{before}{key}") for key, value in given.items()})
